"""Neighbours of clouds of 150k points against scipy's k-d tree on all cores and, where it is installed, Open3D's.

"plain" is what one writes without this op: scipy's cKDTree, built the fastest way and asked with workers=-1, with
its answer as tensors. Torch alone has only N x N distances. Runs on the GPU where there is one and the CUDA kernels are
built, else on the CPU; scipy and Open3D stay on the CPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import measure
import numpy as np
import torch
from cases.furnished_box import box_points
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.ops import compiled, knn, radius

N = 150_000
HAS_OPEN3D = importlib.util.find_spec("open3d") is not None
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def lidar_points() -> Tensor:
    """What one scanner sees of a box from its middle: on its walls the density falls as 1 / r²."""
    rays = normalize(torch.randn(N, 3) * torch.tensor([1.0, 1.0, 0.3]), dim=1)
    return rays * (1.5 / (rays.abs() * torch.tensor([0.3, 0.2, 1.0])).amax(dim=1, keepdim=True).clamp(min=1.5 / 80))


def clusters_and_outliers() -> Tensor:
    """Five clusters of 5 cm, and a point in 150 up to tens of kilometres away."""
    clusters = torch.randn(N - 1000, 3) * 0.05 + torch.randint(0, 5, (N - 1000, 1)) * 3.0
    return torch.cat([clusters, torch.randn(1000, 3) * 1e4])[torch.randperm(N)]


def scipy_tree(points: Tensor) -> cKDTree:
    return cKDTree(points.double().numpy(), balanced_tree=False, compact_nodes=False)


def scipy_knn(points: Tensor, k: int, queries: Tensor) -> tuple[Tensor, Tensor]:
    distances, ids = scipy_tree(points).query(queries.double().numpy(), k=k, workers=-1)
    return torch.from_numpy(ids).reshape(-1, k), torch.from_numpy(distances.astype(np.float32)).reshape(-1, k)


def scipy_radius(points: Tensor, r: float) -> tuple[Tensor, Tensor]:
    """Offsets and ids; scipy returns lists, in no order, and no distances."""
    found = scipy_tree(points).query_ball_point(points.double().numpy(), r, workers=-1)
    offsets = np.cumsum([0, *map(len, found)])
    return torch.from_numpy(offsets), torch.from_numpy(np.concatenate(found))


def open3d_tensor(points: Tensor) -> Any:
    import open3d

    return open3d.core.Tensor.from_numpy(points.numpy())


def open3d_search(points: Tensor) -> Any:
    import open3d

    return open3d.core.nns.NearestNeighborSearch(open3d_tensor(points))


def open3d_knn(points: Tensor, k: int, queries: Tensor) -> object:
    search = open3d_search(points)
    search.knn_index()
    return search.knn_search(open3d_tensor(queries), k)


def open3d_radius(points: Tensor, r: float) -> object:
    search = open3d_search(points)
    search.fixed_radius_index(r)
    return search.fixed_radius_search(open3d_tensor(points), r, sort=True)


def distances_agree(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> None:
    """Ids may differ where distances are equal."""
    torch.testing.assert_close(ours[1].cpu(), plain[1], rtol=1e-6, atol=0)


def counts_agree(ours: tuple[Tensor, ...], plain: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours[0].cpu(), plain[0])


def knn_row(case: str, points: Tensor, k: int, runs: int, queries: Tensor | None = None) -> measure.Row:
    places = points if queries is None else queries
    there, asked = points.to(DEVICE), None if queries is None else queries.to(DEVICE)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: knn(there, k, asked),
        "plain": lambda: scipy_knn(points, k, places),
    }
    if HAS_OPEN3D:
        sides["Open3D"] = lambda: open3d_knn(points, k, places)
    return measure.compare(f"k={k}, {case}", sides, aim=1.0, runs=runs, check=distances_agree)


def radius_row(case: str, points: Tensor, r: float, runs: int) -> measure.Row:
    there = points.to(DEVICE)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: radius(there, r),
        "plain": lambda: scipy_radius(points, r),
    }
    if HAS_OPEN3D:
        sides["Open3D"] = lambda: open3d_radius(points, r)
    return measure.compare(f"within {r} m, {case}", sides, aim=1.0, runs=runs, check=counts_agree)


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    room, lidar, clusters = box_points(N), lidar_points(), clusters_and_outliers()
    rows = [knn_row("room", room, k, options.runs) for k in (1, 10, 30)]
    rows += [knn_row("other queries in the room", room, 10, options.runs, room + 0.05 * torch.randn(N, 3))]
    rows += [knn_row("LiDAR", lidar, 10, options.runs), knn_row("clusters, outliers", clusters, 10, options.runs)]
    rows += [radius_row("room", room, 0.05, options.runs)]
    measure.report("knn", rows, as_json=options.json)


if __name__ == "__main__":
    main()
