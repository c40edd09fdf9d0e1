"""Sizes and data that the tests of the segment ops, and their benchmark, share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
CASES = [  # N, C, S
    (0, 3, 4),
    (1, 1, 1),
    (7, 5, 4096),  # far more segments than rows
    (1000, 16, 50),
    (1000, 33, 1),
    (900, 72, 11),  # whole vectors and a rest, in every dtype
    (5003, 6, 3),  # segments of several parts
    (257, 0, 4),
    (0, 2, 0),
]
TOLERANCE = {  # of sums of up to 5003
    torch.float64: 1e-11,
    torch.float32: 1e-4,
    torch.float16: 1e-4,
    torch.bfloat16: 1e-4,
}
Op = Callable[..., Tensor]


class Masks(NamedTuple):
    """Overlapping masks as CSR of row ids; some are empty, some rows are in none, some are twice in one mask."""

    row_ids: Tensor
    offsets: Tensor

    @property
    def count(self) -> int:
        return len(self.offsets) - 1


def rows(n: int, c: int, s: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> tuple[Tensor, ...]:
    """(values, weights, index), the same for the same sizes on every device."""
    generator = torch.Generator().manual_seed(n + 10 * c + 100 * s)
    values = torch.randn(n, c, generator=generator, dtype=torch.float64).to(dtype)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    index = torch.randint(0, max(s, 1), (n,), generator=generator)
    weights = weights.to(torch.float64 if dtype == torch.float64 else torch.float32)
    return values.to(device), weights.to(device), index.to(device)


def masks(n: int, s: int, device: str = "cpu", cover: int = 3) -> Masks:
    """s masks with about cover · n rows of n in all, of very different sizes."""
    generator = torch.Generator().manual_seed(n + 7 * s)
    entries = cover * n if s > 0 else 0
    row_ids = torch.randint(0, max(n, 1), (entries,), generator=generator)
    owners = (torch.rand(entries, generator=generator) ** 2 * s).long()
    sizes = torch.bincount(owners, minlength=s)
    if s > 2:
        sizes[0] += sizes[1]
        sizes[1] = 0
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Masks(row_ids.to(device), offsets.to(device))


def sorted_offsets(index: Tensor, s: int) -> Tensor:
    """The offsets of the segments of rows that lie in the order of index.sort()."""
    sizes = torch.bincount(index, minlength=s)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_compilations(function: Op) -> tuple[Op, list[int]]:
    """Returns the function, compiled as one graph of any size, and a list that grows with every compilation."""
    compilations: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        compilations.append(len(inputs))
        return graph.forward

    return torch.compile(function, fullgraph=True, dynamic=True, backend=backend), compilations
