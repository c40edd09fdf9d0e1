"""voxel_hash at 2 cm of a room's points against torch.unique, and against one read of the data.

Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

import measure
import torch
from cases.furnished_box import box_points
from torch import Tensor

from geoguide3d.ops import compiled, voxel_hash

VOXEL_SIZE_M = 0.02
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def plain_voxels(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cells = (points.double() / VOXEL_SIZE_M).floor_()
    cells -= cells.amin(0)
    x, y, z = cells.long().T
    keys, voxel_of_point = torch.unique((x << 42) | (y << 21) | z, return_inverse=True)
    rows = torch.arange(len(points), device=points.device)
    point_of_voxel = torch.full_like(keys, len(points)).scatter_reduce_(0, voxel_of_point, rows, "amin")
    mask = 2**21 - 1
    return torch.stack([keys >> 42, (keys >> 21) & mask, keys & mask], dim=1), point_of_voxel, voxel_of_point


def row(n: int, runs: int) -> measure.Row:
    points = (box_points(n)[torch.randperm(n)] + 0.003 * torch.randn(n, 3)).to(DEVICE)
    sides: dict[str, measure.Side] = {
        "ours": lambda: voxel_hash(points, VOXEL_SIZE_M),
        "plain": lambda: plain_voxels(points),
        "limit": lambda: points.sum(),
    }
    return measure.compare(f"2 cm, N={n:,}", sides, aim=1.5, runs=runs, check=torch.testing.assert_close)


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    measure.report("voxel_hash", [row(150_000, options.runs), row(1_000_000, options.runs)], as_json=options.json)


if __name__ == "__main__":
    main()
