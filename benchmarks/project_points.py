"""Which of 150,000 points frames of 320 × 240 pixels see, with depth maps: one view, and 30 in one call.

order    as sampled, at random; or sorted by cells of half a metre, for scans keep neighbours together
plain    the best few lines of torch, view by view: a float32 cull by the frustum's planes, then the test in float64
limit    one read of the points per view

Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

import measure
import torch
from cases.furnished_box import Walk, make_walk
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import VisibilityRule
from geoguide3d.ops import DepthTest, ProjectedPoints, compiled, project_points

RULE = VisibilityRule()
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def plain_cull(points: Tensor, camera: Camera) -> Tensor:
    """Returns ids of all points that may lie in the image and few others, by one float32 product."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    sides = [[1, 0, 0.5], [-1, 0, right], [0, 1, 0.5], [0, -1, bottom], [0, 0, 1]]  # · (u, v, 1) z ≥ 0 within
    planes = torch.tensor(sides, dtype=torch.float64) @ camera.intrinsics @ camera.camera_from_world[:3]
    planes /= planes[:, :3].norm(dim=1, keepdim=True)
    smallest, largest = points.aminmax()
    extent = max(-float(smallest), float(largest))
    margin_m = 0.01 * (planes[:, :3].abs().sum(dim=1) * extent + planes[:, 3].abs())
    normals, offsets = planes[:, :3].to(points.device, torch.float32), (planes[:, 3] + margin_m).to(points.device)
    distances = torch.addmm(offsets[:, None].to(torch.float32), normals, points.T)
    return (distances.amin(0) >= 0).nonzero().squeeze(1)


def plain_view(points: Tensor, camera: Camera, depth_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns point ids, uv and z of the points that a view sees; the map has the size of its image."""
    candidates = plain_cull(points, camera)
    matrix = (camera.intrinsics @ camera.camera_from_world[:3]).to(points.device)
    nearby = points.index_select(0, candidates).to(torch.float64).T
    uz, vz, z = torch.addmm(matrix[:, 3:], matrix[:, :3], nearby)
    u, v = uz.div_(z), vz.div_(z)
    column, row = u.round(), v.round()
    inside = (z > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    kept = inside.nonzero().squeeze(1)
    pixel = (row.index_select(0, kept) * camera.width + column.index_select(0, kept)).to(torch.int64)
    depth = depth_map.view(-1).index_select(0, pixel).to(torch.float64)
    tolerance = RULE.depth_tolerance_m + RULE.depth_tolerance_ratio * depth
    agrees = ((depth - z.index_select(0, kept)).abs() <= tolerance) & (depth > 0) & depth.isfinite()
    kept = kept[agrees]
    uv = torch.stack([u.index_select(0, kept), v.index_select(0, kept)], dim=1)
    return candidates.index_select(0, kept), uv, z.index_select(0, kept).to(torch.float32)


def plain(points: Tensor, cameras: list[Camera], depth_maps: list[Tensor]) -> ProjectedPoints:
    each = [plain_view(points, camera, depth_map) for camera, depth_map in zip(cameras, depth_maps, strict=True)]
    counts = torch.tensor([0] + [len(ids) for ids, _, _ in each], device=points.device)
    return ProjectedPoints(counts.cumsum(0), *(torch.cat(column) for column in zip(*each, strict=True)))


def in_cells(points: Tensor) -> Tensor:
    """Returns the points, cell after cell."""
    cell = (points / 0.5).floor().to(torch.int64)
    return points[(cell @ cell.new_tensor([10_000, 100, 1])).argsort(stable=True)]


def row(walk: Walk, views: int, order: str, runs: int) -> measure.Row:
    points = (walk.scene.points if order == "random" else in_cells(walk.scene.points)).to(DEVICE)
    cameras = [view.camera for view in walk.views[:views]]
    depth_maps = [depth_map.to(DEVICE) for depth_map in walk.depth_maps[:views]]
    intrinsics = torch.stack([camera.intrinsics for camera in cameras])
    poses = torch.stack([camera.camera_from_world for camera in cameras])
    sizes = torch.tensor([[camera.width, camera.height] for camera in cameras])
    depth_test = DepthTest(torch.stack(depth_maps), RULE.depth_tolerance_m, RULE.depth_tolerance_ratio)
    sides = {
        "ours": lambda: project_points(points, intrinsics, poses, sizes, depth_test),
        "plain": lambda: plain(points, cameras, depth_maps),
        "limit": lambda: [points.sum() for _ in range(views)],
    }
    case = f"V={views}, points in {order} order"
    return measure.compare(case, sides, aim=2.0, runs=max(runs, 15), check=torch.testing.assert_close)


def main() -> None:
    options = measure.start(__doc__)
    walk = make_walk()
    cases = [(views, order) for views in (1, len(walk.views)) for order in ("random", "sorted")]
    rows = [row(walk, views, order, options.runs) for views, order in cases]
    measure.report("project_points", rows, as_json=options.json)


if __name__ == "__main__":
    main()
