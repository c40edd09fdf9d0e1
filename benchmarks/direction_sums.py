"""Sums of directions on N = 150k rows of C = 768 against plain torch, and the bytes to be touched.

Plain torch is normalize, minus the mean, normalize, index_add_, and autograd. The limit reads (and writes) once what
the op must read and write, with torch's own sum and copy_. Runs on the GPU where there is one and the CUDA kernels are
built, else on the CPU.
"""

from __future__ import annotations

import measure
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.ops import compiled, direction_dot, direction_sums, direction_total
from geoguide3d.ops.direction_sums import NEAREST

N, S, C, PIECE = 150_000, 2000, 768, 25
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def directions(vectors: Tensor, mean: Tensor) -> Tensor:
    return normalize(normalize(vectors.to(mean.dtype), dim=1) - mean, dim=1, eps=NEAREST)


def rows_of(dtype: torch.dtype, runs: int) -> list[measure.Row]:
    seed = torch.Generator().manual_seed(0)
    index = (torch.randperm(N // PIECE, generator=seed) % S)[torch.arange(N) // PIECE].to(DEVICE)  # runs, as in a scan
    values = torch.randn(N, C, generator=seed).to(dtype).to(DEVICE)
    mean = 0.8 * normalize(torch.randn(C, generator=seed), dim=0).to(DEVICE)
    segments, leaf, copy = torch.randn(S, C, generator=seed).to(DEVICE), values.clone().requires_grad_(), values.clone()

    def forward_backward(sums: Tensor) -> tuple[Tensor, Tensor]:
        return sums.detach(), torch.autograd.grad(sums, leaf, segments)[0]

    def plain_sums(vectors: Tensor) -> Tensor:
        return segments.new_zeros(S, C).index_add(0, index, directions(vectors, mean))

    def close(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> None:
        for got, expected in zip(ours, plain, strict=True):
            torch.testing.assert_close(got.float(), expected.float(), rtol=1e-2, atol=1e-2)

    sums = {
        "ours": lambda: forward_backward(direction_sums(leaf, index, S, None, mean)),
        "plain": lambda: forward_backward(plain_sums(leaf)),
        "limit": lambda: (values.sum(), copy.copy_(values)),
    }
    dots = {
        "ours": lambda: direction_dot(values, segments, index, mean),
        "plain": lambda: (directions(values, mean) * segments[index]).sum(1),
        "limit": lambda: values.sum(),
    }
    total = {
        "ours": lambda: direction_total(values),
        "plain": lambda: normalize(values.float(), dim=1).sum(0),
        "limit": lambda: values.sum(),
    }
    name = str(dtype).removeprefix("torch.")
    return [
        measure.compare(f"sums and gradient, {name}", sums, aim=3.0, runs=runs, check=close),
        measure.compare(f"dot, {name}", dots, aim=3.0, runs=runs),
        measure.compare(f"total, {name}", total, aim=3.0, runs=runs),
    ]


def main() -> None:
    options = measure.start(__doc__)
    rows = [row for dtype in (torch.float32, torch.bfloat16) for row in rows_of(dtype, options.runs)]
    measure.report("direction_sums", rows, as_json=options.json)


if __name__ == "__main__":
    main()
