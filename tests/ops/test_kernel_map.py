"""Kernel maps: kernels against the references and against a dictionary of cells, limits, edges."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.kernel_map import (
    strided_map,
    strided_map_reference,
    submanifold_map,
    submanifold_map_reference,
)
from tests.ops.segment_cases import DEVICES, count_compilations, torch_threads

SIZES = [0, 1, 2, 1000, 20_001]
WINDOWS = [(1, 1, 0), (2, 2, 0), (3, 3, 0), (5, 5, 0), (3, 2, 1), (3, 1, 1), (4, 3, 7), (1, 2, 0), (5, 2, 0)]


def random_cells(count: int, extent: int = 40, batches: int = 3, seed: int = 0) -> Tensor:
    """(count, 4) distinct cells in random order."""
    generator = torch.Generator().manual_seed(seed + count)
    keys = torch.randperm(batches * extent**3, generator=generator)[:count]
    return torch.stack([keys // extent**3, keys // extent**2 % extent, keys // extent % extent, keys % extent], dim=1)


def assert_equal(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for tensor, other in zip(got, expected, strict=True):
        assert (tensor.dtype, tensor.shape, tensor.device) == (other.dtype, other.shape, other.device)
        assert torch.equal(tensor, other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("n", SIZES)
def test_matches_reference(n: int, in_order: bool, device: str) -> None:
    cells = random_cells(n)
    cells = torch.unique(cells, dim=0).view(-1, 4) if in_order else cells
    cells = cells.to(device)
    for size in (1, 3, 5):
        shifted = cells - torch.tensor([0, 20, 20, 20], device=device)
        assert_equal((submanifold_map(shifted, size),), (submanifold_map_reference(shifted, size),))
    for window in WINDOWS:
        assert_equal(strided_map(cells, *window), strided_map_reference(cells, *window))


Cells = set[tuple[int, ...]]


def some_cells(low: int) -> st.SearchStrategy[Cells]:
    return st.sets(st.tuples(st.integers(0, 2), *[st.integers(low, low + 7)] * 3), min_size=1, max_size=120)


@settings(max_examples=40, deadline=None)
@given(some_cells(-3), st.sampled_from([1, 3, 5]))
def test_a_submanifold_map_equals_a_dictionary_of_cells(chosen: Cells, size: int) -> None:
    row = {cell: m for m, cell in enumerate(chosen)}
    taps = list(product(range(size), repeat=3))
    expected = [
        [row.get((b, *(v + t - size // 2 for v, t in zip(at, tap, strict=True))), -1) for b, *at in row] for tap in taps
    ]
    assert submanifold_map(torch.tensor(list(row)), size).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(some_cells(0), st.integers(1, 5), st.integers(1, 4), st.integers(0, 6))
def test_a_strided_map_equals_a_dictionary_of_cells(chosen: Cells, size: int, stride: int, padding: int) -> None:
    row = {cell: m for m, cell in enumerate(chosen)}
    coarse, children, parents = strided_map(torch.tensor(list(row)), size, stride, padding)
    taps = list(product(range(size), repeat=3))
    # Every output that may read a cell, and what it reads.
    read = {
        (b, *output): [
            row.get((b, *(o * stride - padding + t for o, t in zip(output, tap, strict=True))), -1) for tap in taps
        ]
        for b in range(3)
        for output in product(range((7 + padding) // stride + 1), repeat=3)
    }
    outputs = sorted(output for output, rows in read.items() if max(rows) >= 0)
    assert [tuple(output) for output in coarse.tolist()] == outputs
    assert children.T.tolist() == [read[output] for output in outputs]
    pairs = {(t, p, m) for p, output in enumerate(outputs) for t, m in enumerate(read[output]) if m >= 0}
    assert {(t, int(parents[t, m]), m) for t, m in (parents >= 0).nonzero().tolist()} == pairs


@pytest.mark.parametrize("device", DEVICES)
def test_known_answer(device: str) -> None:
    cells = torch.tensor([[0, 5, 5, 5], [0, 5, 5, 6], [1, 5, 5, 4], [0, 6, 4, 5]], device=device)
    neighbours = submanifold_map(cells, 3)
    assert (neighbours >= 0).nonzero().tolist() == [
        [7, 3],
        [8, 3],
        [12, 1],
        [13, 0],
        [13, 1],
        [13, 2],
        [13, 3],
        [14, 0],
        [18, 1],
        [19, 0],
    ]
    assert neighbours[[7, 12, 14, 19], [3, 1, 0, 0]].tolist() == [0, 0, 1, 3]
    coarse, children, parents = strided_map(cells, 2, 2)
    assert coarse.tolist() == [[0, 2, 2, 2], [0, 2, 2, 3], [0, 3, 2, 2], [1, 2, 2, 2]]
    assert (children >= 0).nonzero().tolist() == [[1, 2], [6, 1], [6, 3], [7, 0]]
    assert parents.amax(0).tolist() == [0, 1, 3, 2]
    coarse, children, parents = strided_map(cells[:2], 3, 2, 1)  # 5 is read by 2 and 3, 6 by 3 alone
    assert coarse[:, 1:].tolist() == [list(o) for o in product([2, 3], repeat=3)]
    assert coarse.amax(0)[0] == 0
    # Cell 0 is read by tap 2 of 2 and tap 0 of 3 along each axis; cell 1 by tap 1 of 3 along z.
    assert (children[:, 7] >= 0).nonzero().flatten().tolist() == [0, 1]
    assert children[[0, 1, 26], [7, 7, 0]].tolist() == [0, 1, 0]
    assert (parents >= 0).sum(0).tolist() == [8, 4]
    assert strided_map(cells[:2], 3, 2)[0].tolist() == [[0, 2, 2, 2], [0, 2, 2, 3]]


@pytest.mark.parametrize("size", [3, 5])
def test_a_submanifold_map_is_its_own_inverse_with_the_taps_reversed(size: int) -> None:
    neighbours = submanifold_map(random_cells(5000, 20), size)
    for tap, rows in enumerate(neighbours):
        outputs = (rows >= 0).nonzero().squeeze(1)
        assert torch.equal(neighbours[size**3 - 1 - tap, rows[outputs]].long(), outputs)


@pytest.mark.parametrize("device", DEVICES)
def test_results_do_not_depend_on_the_number_of_threads(device: str) -> None:
    cells = random_cells(70_001).to(device)
    expected = (submanifold_map(cells, 3), *strided_map(cells, 2, 2))
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert_equal((submanifold_map(cells, 3), *strided_map(cells, 2, 2)), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    wide = random_cells(300, 8).to(device).repeat(1, 2)
    cells = wide[::2, 2:6].roll(2, dims=1)
    for view in (wide[::2, :4], cells.T.contiguous().T):
        assert_equal((submanifold_map(view, 3),), (submanifold_map(view.contiguous(), 3),))
        assert_equal(strided_map(view, 2, 2), strided_map(view.contiguous(), 2, 2))


@pytest.mark.parametrize("device", DEVICES)
def test_extents_whose_product_is_a_key_fit_and_more_are_refused(device: str) -> None:
    far = 2**20
    cells = torch.tensor([[0, 0, 0, 0], [0, far, far, far], [0, far, far, far - 1]], device=device)
    assert submanifold_map(cells, 3)[:, 1].tolist() == [-1] * 12 + [2, 1] + [-1] * 13
    for beyond in (2**22, 2**62):
        cells[0, 1:] = -beyond
        with pytest.raises(ValueError, match=r"more than 2\^63 cells"):
            submanifold_map(cells, 3)
    cells[0, 1:] = 2**24
    assert strided_map(cells, 16, 16)[0][:, 3].tolist() == [2**16 - 1, 2**16, 2**20]
    with pytest.raises(ValueError, match=r"more than 2\^63 cells"):
        strided_map(cells, 1, 1)
    for outside in (-1, 2**62):
        cells[0, 2] = outside
        with pytest.raises(ValueError, match=rf"x, y and z of a strided map must be in \[0, 2\^62\), got {outside}"):
            strided_map(cells, 2, 2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_cell_that_occurs_twice_is_named(device: str) -> None:
    cells = random_cells(500).to(device)
    cells[77] = cells[401]
    named = ", ".join(map(str, cells[77].tolist()))
    with pytest.raises(ValueError, match=rf"cells must differ, \[{named}\] occurs twice"):
        submanifold_map(cells, 3)
    with pytest.raises(ValueError, match=rf"cells must differ, \[{named}\] occurs twice"):
        strided_map(cells, 2, 2)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    cells = random_cells(60, 5).to(device)
    torch.library.opcheck(torch.ops.geoguide3d.submanifold_map.default, (cells, 3))
    torch.library.opcheck(torch.ops.geoguide3d.strided_map.default, (cells, 3, 2, 1))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def step(cells: Tensor) -> Tensor:
        coarse, children, _ = strided_map(cells * 2, 3, 2, 1)
        return submanifold_map(coarse, 3).amax(0) + children.amax(0)

    compiled, calls = count_compilations(step)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        for n in (40, 60, 33):
            cells = random_cells(n, 6).to(device)
            assert torch.equal(compiled(cells), step(cells))
    assert len(calls) == 1


@pytest.mark.parametrize("cells", [torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 4), torch.zeros(4)])
def test_rejects_wrong_shapes_and_dtypes(cells: Tensor) -> None:
    with pytest.raises(ValueError, match=r"cells must be \(M, 4\) int64, got"):
        submanifold_map(cells, 3)
    with pytest.raises(ValueError, match=r"cells must be \(M, 4\) int64, got"):
        strided_map(cells, 2, 2)


def test_rejects_wrong_sizes() -> None:
    for size in (0, 2, -1):
        with pytest.raises(ValueError, match=f"kernel_size must be odd, got {size}"):
            submanifold_map(random_cells(3), size)
    for window in ((0, 1, 0), (1001, 2, 0), (3, 0, 1), (3, 2, -1), (3, 2, 2**31)):
        with pytest.raises(ValueError, match=r"kernel_size must be in .*, got {}, {} and {}".format(*window)):
            strided_map(random_cells(3), *window)
