"""Depth images of 640 × 480 pixels from 150,000 points: one view, and ten in one call.

plain    torch: a drawing pass for each size of square that occurs (scatter_reduce_), its gaps closed by torch.minimum
         and maximum of shifted images, runs of 2, 4, 8, ... pixels made from two runs each (max_pool2d is slower)

Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from cases.furnished_box import Walk, make_walk
from torch import Tensor
from torch.nn.functional import pad

from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import splat_radius
from geoguide3d.ops import compiled, splat_depth

WIDTH, HEIGHT = 640, 480
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def slide(image: Tensor, window: int, dim: int, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns the least or the greatest of each window along dim; the image shrinks by window - 1."""
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        length = image.shape[dim] - step
        image = choose(image.narrow(dim, 0, length), image.narrow(dim, step, length))
        covered += step
    return image


def closing(depth: Tensor, radius_px: int) -> Tensor:
    """Returns (H, W) depth whose gaps (inf) of up to 2 · radius_px are filled with the depth around them."""
    window = 2 * radius_px + 1
    image = pad(depth, (2 * radius_px,) * 4, value=torch.inf)
    for choose in (torch.minimum, torch.maximum):
        for dim in (1, 0):
            image = slide(image, window, dim, choose)
    return image


def plain_view(points: Tensor, camera: Camera, radius_m: float) -> Tensor:
    """Returns the (H, W) depth."""
    largest = camera.width // 8
    radii = [0, *(2**k for k in range(largest.bit_length()) if 2**k < largest), largest]
    width, height = camera.width + 2 * largest, camera.height + 2 * largest
    matrix = (camera.intrinsics @ camera.camera_from_world[:3]).to(points.device)
    uz, vz, z = torch.addmm(matrix[:, 3:], matrix[:, :3], points.to(torch.float64).T)
    column, row = uz.div_(z).round_() + largest, vz.div_(z).round_() + largest
    inside = (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel, z = (row[inside] * width + column[inside]).to(torch.int64), z[inside]
    depth = z.to(torch.float32)
    level = torch.bucketize(float(camera.intrinsics[0, 0]) * radius_m / z, z.new_tensor(radii)).clamp_(
        max=len(radii) - 1
    )
    nearest = depth.new_full((height, width), torch.inf)
    for index in torch.unique(level).tolist():
        drawn = depth.new_full((height * width,), torch.inf)
        drawn.scatter_reduce_(0, pixel[level == index], depth[level == index], "amin")
        torch.minimum(nearest, closing(drawn.view_as(nearest), radii[index]), out=nearest)
    image = nearest[largest : largest + camera.height, largest : largest + camera.width]
    return image.masked_fill(image == torch.inf, 0.0)


def row(walk: Walk, views: int, runs: int) -> measure.Row:
    points = walk.scene.points.to(DEVICE)
    radius_m = splat_radius(walk.scene.points)
    cameras = [view.camera.resized(WIDTH, HEIGHT) for view in walk.views[:: len(walk.views) // views]]
    intrinsics = torch.stack([camera.intrinsics for camera in cameras])
    poses = torch.stack([camera.camera_from_world for camera in cameras])
    sides = {
        "ours": lambda: splat_depth(points, intrinsics, poses, (WIDTH, HEIGHT), radius_m),
        "plain": lambda: torch.stack([plain_view(points, camera, radius_m) for camera in cameras]),
    }
    return measure.compare(f"points, V={views}", sides, aim=2.0, runs=runs, check=torch.testing.assert_close)


def main() -> None:
    options = measure.start(__doc__)
    walk = make_walk()
    measure.report("splat_depth", [row(walk, views, options.runs) for views in (1, 10)], as_json=options.json)


if __name__ == "__main__":
    main()
