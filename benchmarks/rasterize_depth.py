"""Depth images of 640 × 480 pixels from a mesh of 150,000 vertices and 300,000 faces: one view, and ten in one call.

plain    torch: every pixel of every triangle's box tested at once, and the least depth taken by scatter_reduce_
open3d   RaycastingScene.cast_rays, its acceleration structure built before; on the CPU alone

Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

import importlib.util
import math

import measure
import torch
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.ops import compiled, rasterize_depth

WIDTH, HEIGHT = 640, 480
RINGS = 274  # of twice as many vertices
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def wavy_shell() -> tuple[Tensor, Tensor]:
    """Returns vertices and faces of a closed surface around the origin, 2.1 to 2.9 m away."""
    phi, theta = torch.linspace(0.01, math.pi - 0.01, RINGS), torch.arange(2 * RINGS) * (math.pi / RINGS)
    radius = 2.5 + 0.4 * torch.sin(5 * theta) * torch.sin(6 * phi)[:, None]
    ring = torch.stack([torch.cos(theta), torch.sin(theta)]) * torch.sin(phi)[:, None, None]
    vertices = torch.cat([ring.permute(0, 2, 1), torch.cos(phi)[:, None, None].expand(-1, 2 * RINGS, 1)], dim=2)
    i, j = torch.meshgrid(torch.arange(RINGS - 1), torch.arange(2 * RINGS), indexing="ij")
    a, b = i * 2 * RINGS + j, i * 2 * RINGS + (j + 1) % (2 * RINGS)
    quads = torch.stack([a, b, a + 2 * RINGS, b, b + 2 * RINGS, a + 2 * RINGS], dim=2)
    return (vertices * radius[:, :, None]).reshape(-1, 3), quads.reshape(-1, 3)


def turning_cameras(count: int) -> list[Camera]:
    """Returns cameras near the origin that look around horizontally."""
    focal = 0.6 * WIDTH
    intrinsics = torch.tensor([[focal, 0, WIDTH / 2 - 0.5], [0, focal, HEIGHT / 2 - 0.5], [0, 0, 1]])
    cameras = []
    for k in range(count):
        angle = 2 * math.pi * k / count + 0.1
        pose = torch.eye(4, dtype=torch.float64)
        c, s = math.cos(angle), math.sin(angle)
        pose[:3, :3] = torch.tensor([[-s, c, 0.0], [0.0, 0.0, -1.0], [c, s, 0.0]])
        pose[:3, 3] = -pose[:3, :3] @ torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
        cameras.append(Camera(intrinsics, pose, WIDTH, HEIGHT))
    return cameras


def plain_view(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Returns the (H, W) depth of a mesh whose faces in view lie wholly in front of the camera."""
    matrix = (camera.intrinsics @ camera.camera_from_world[:3]).to(vertices.device)
    image_points = torch.addmm(matrix[:, 3], vertices.to(torch.float64), matrix[:, :3].T)
    image_points = image_points[:, :2].div(image_points[:, 2:]), image_points[:, 2]
    uv, z = image_points[0][faces], image_points[1][faces]
    low, high = uv.amin(1).ceil().clamp(min=0), uv.amax(1).floor()
    high = torch.minimum(high, high.new_tensor([camera.width - 1, camera.height - 1]))
    kept = ((high >= low).all(1) & (z > 1e-6).all(1)).nonzero().squeeze(1)
    uv, z, low, high = uv[kept], z[kept], low[kept].long(), high[kept].long()
    columns, rows = (high - low + 1).unbind(1)
    triangle = torch.repeat_interleave(torch.arange(len(kept), device=faces.device), columns * rows)
    first = (columns * rows).cumsum(0) - columns * rows
    within = torch.arange(len(triangle), device=faces.device) - first[triangle]
    u = low[triangle, 0] + within % columns[triangle]
    v = low[triangle, 1] + within // columns[triangle]
    pixel = torch.stack([u, v], dim=1).to(torch.float64)
    p, q, r = uv[triangle].unbind(1)
    areas = torch.stack([cross(r - q, pixel - q), cross(p - r, pixel - r), cross(q - p, pixel - p)], dim=1)
    inside = ((areas >= 0).all(1) | (areas <= 0).all(1)) & (areas != 0).any(1)
    areas, triangle = areas[inside], triangle[inside]
    depth = areas.sum(1) / (areas / z[triangle]).sum(1)
    image = depth.new_full((camera.height * camera.width,), torch.inf, dtype=torch.float32)
    image.scatter_reduce_(0, (v * camera.width + u)[inside], depth.to(torch.float32), "amin")
    return image.masked_fill_(image == torch.inf, 0).view(camera.height, camera.width)


def cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def open3d_side(vertices: Tensor, faces: Tensor, cameras: list[Camera]) -> measure.Side:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(vertices.numpy(), faces.numpy().astype("uint32"))
    half_pixel = torch.tensor([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], dtype=torch.float64)  # of its pixel centres
    rays = []
    for camera in cameras:
        matrices = [o3d.core.Tensor(m.numpy()) for m in (half_pixel @ camera.intrinsics, camera.camera_from_world)]
        rays.append(scene.create_rays_pinhole(*matrices, WIDTH, HEIGHT))
    return lambda: [scene.cast_rays(each)["t_hit"] for each in rays]


def agree(ours: Tensor, plain: Tensor) -> None:
    """Raises unless all but a few pixels agree: those at silhouettes round to either side."""
    close = torch.isclose(ours, plain, rtol=1e-6, atol=0)
    if float(close.float().mean()) < 0.9999:
        raise AssertionError(f"{int((~close).sum())} pixels differ")


def row(views: int, runs: int) -> measure.Row:
    vertices, faces = (each.to(DEVICE) for each in wavy_shell())
    cameras = turning_cameras(views)
    intrinsics = torch.stack([camera.intrinsics for camera in cameras])
    poses = torch.stack([camera.camera_from_world for camera in cameras])
    sides: dict[str, measure.Side] = {
        "ours": lambda: rasterize_depth(vertices, faces, intrinsics, poses, (WIDTH, HEIGHT)),
        "plain": lambda: torch.stack([plain_view(vertices, faces, camera) for camera in cameras]),
    }
    if DEVICE == "cpu" and importlib.util.find_spec("open3d") is not None:
        sides["open3d"] = open3d_side(vertices, faces, cameras)
    case = f"V={views}, {len(faces) / 1000:.0f}k faces"
    return measure.compare(case, sides, aim=2.0, runs=runs, check=agree)


def main() -> None:
    options = measure.start(__doc__)
    measure.report("rasterize_depth", [row(views, options.runs) for views in (1, 10)], as_json=options.json)


if __name__ == "__main__":
    main()
