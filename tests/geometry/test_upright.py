"""upright: the rotation, and rooms whose up direction is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.normals import normals_from_neighbors
from geoguide3d.geometry.upright import estimate_up, rotation_to_z_up

WITHIN_5_DEGREES = math.cos(math.radians(5.0))


def rectangle(
    corner: list[float], one: list[float], other: list[float], spacing_m: float = 0.04
) -> tuple[Tensor, Tensor]:
    """Returns points and normals (one × other) of a rectangle."""
    a, b = torch.tensor(one), torch.tensor(other)
    u = torch.linspace(0, 1, max(2, int(a.norm() / spacing_m)))
    v = torch.linspace(0, 1, max(2, int(b.norm() / spacing_m)))
    grid = torch.cartesian_prod(u, v)
    points = torch.tensor(corner) + grid[:, :1] * a + grid[:, 1:] * b
    return points, normalize(torch.linalg.cross(a, b), dim=0).expand_as(points)


def furnished_room(ceiling: bool = True) -> tuple[Tensor, Tensor]:
    """Returns a z-up room 4 × 3 × 2.5 m, normals inward, with a table and a bed whose undersides nobody scanned."""
    parts = [
        rectangle([0, 0, 0], [4.0, 0, 0], [0, 3.0, 0]),
        rectangle([0, 0, 0], [0, 0, 2.5], [4.0, 0, 0]),
        rectangle([0, 3.0, 0], [4.0, 0, 0], [0, 0, 2.5]),
        rectangle([0, 0, 0], [0, 3.0, 0], [0, 0, 2.5]),
        rectangle([4.0, 0, 0], [0, 0, 2.5], [0, 3.0, 0]),
        rectangle([1.0, 1.0, 0.75], [1.2, 0.4, 0], [-0.3, 0.9, 0]),
        rectangle([2.5, 0.5, 0.45], [0.9, 0, 0], [0, 1.9, 0]),
    ]
    if ceiling:
        parts.append(rectangle([0, 0, 2.5], [0, 3.0, 0], [4.0, 0, 0]))
    points, normals = zip(*parts, strict=True)
    return torch.cat(points), torch.cat(normals)


@pytest.mark.parametrize("up", [[0, 0, 1], [0, 0, -1], [0, 1, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0]])
def test_rotation_permutes_axes_exactly(up: list[int]) -> None:
    direction = torch.tensor(up, dtype=torch.float32)
    rotation = rotation_to_z_up(direction)
    assert set(rotation.abs().flatten().tolist()) == {0.0, 1.0}
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
    assert (rotation @ direction.double()).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 0.1, 1.0, 1e4])
@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_rotation_is_orthogonal_near_the_poles_too(scale: float, z: float) -> None:
    up = torch.tensor([0.6 * scale, -0.8 * scale, z], dtype=torch.float64)
    rotation = rotation_to_z_up(up)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(rotation @ normalize(up, dim=0), torch.tensor([0.0, 0, 1], dtype=torch.float64))
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


@pytest.mark.parametrize("up", [torch.zeros(3), torch.tensor([0.0, float("nan"), 1.0]), torch.ones(2)])
def test_rejects_an_up_without_direction(up: Tensor) -> None:
    with pytest.raises(ValueError, match="up must be three finite numbers"):
        rotation_to_z_up(up)


@pytest.mark.parametrize("ceiling", [True, False])
@pytest.mark.parametrize("oriented", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_finds_up_in_a_turned_room(ceiling: bool, oriented: bool, seed: int) -> None:
    points, normals = furnished_room(ceiling)
    torch.manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    turn = turn * torch.linalg.det(turn)
    normals = normals if oriented else normals_from_neighbors(points)
    assert float(estimate_up(points @ turn.T, normals @ turn.T) @ turn[:, 2]) > WITHIN_5_DEGREES


def test_cameras_decide_between_axes_and_signs() -> None:
    points, normals = furnished_room()
    for held_up in ([0.0, 0.5, 0.8], [0.3, 0.0, -0.9], [0.9, 0.1, 0.0]):
        cameras_up = normalize(torch.tensor(held_up), dim=0) + 0.05 * torch.randn(20, 3)
        expected = torch.tensor(held_up).round()
        expected = torch.where(torch.tensor(held_up).abs() > 0.7, torch.tensor(held_up).sign(), 0.0)
        assert float(estimate_up(points, normals, cameras_up) @ expected) > WITHIN_5_DEGREES


def test_cameras_alone_speak_where_no_surface_agrees() -> None:
    points, normals = rectangle([0, 0, 0], [2.0, 0, 0], [0, 2.0, 0])
    cameras_up = torch.tensor([[0.6, 0.0, 0.8], [0.6, 0.8, 0.0]])
    expected = normalize(cameras_up.mean(dim=0), dim=0)
    torch.testing.assert_close(estimate_up(points, normals, cameras_up), expected)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tiny_clouds_have_some_unit_up(count: int) -> None:
    points = torch.arange(count)[:, None] * torch.ones(3)
    assert float(estimate_up(points, torch.tensor([[0.0, 0, 1]]).expand(count, 3)).norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("oriented", [True, False])
def test_lounge(shared_data: Path, oriented: bool) -> None:
    vertices = PlyData.read(str(shared_data / "lounge" / "lounge.ply"))["vertex"].data[::4]
    points, normals = (
        torch.from_numpy(np.stack([vertices[name] for name in names], axis=1))
        for names in (("x", "y", "z"), ("nx", "ny", "nz"))
    )
    normals = normals if oriented else normals_from_neighbors(points)
    up = estimate_up(points, normals)
    # The floor's vertices lie at y = -1.55 and the cameras, held upright, 1.65 m above them at y = 0.1.
    assert float(up @ torch.tensor([0.0, 1.0, 0.0])) > WITHIN_5_DEGREES


@pytest.mark.parametrize("with_cameras", [True, False])
def test_livingroom(shared_data: Path, with_cameras: bool) -> None:
    folder = shared_data / "livingroom"
    focal, center_u, center_v = 525.0, 319.5, 239.5
    points, normals, cameras_up = [], [], []
    for path in sorted((folder / "depth").glob("*.png"))[::3]:
        pose = torch.from_numpy(np.loadtxt(folder / "pose" / f"{path.stem}.txt"))
        depth = torch.from_numpy(np.asarray(Image.open(path)).astype(np.float64))[::6, ::6] / 1000
        v, u = torch.meshgrid(torch.arange(0, 480, 6), torch.arange(0, 640, 6), indexing="ij")
        rays = torch.stack([(u - center_u) / focal, (v - center_v) / focal, torch.ones_like(u)], dim=-1)
        seen = ((rays * depth.unsqueeze(-1))[depth > 0] @ pose[:3, :3].T + pose[:3, 3]).float()
        points.append(seen)
        normals.append(normals_from_neighbors(seen, toward=pose[:3, 3]))
        cameras_up.append(-pose[:3, 1])
    up = estimate_up(torch.cat(points), torch.cat(normals), torch.stack(cameras_up) if with_cameras else None)
    assert float(up @ torch.tensor([0.0, -1.0, 0.0])) > WITHIN_5_DEGREES
