"""Descriptors: what must not change them, and small or poor clouds."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from torch import Tensor

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.scene import Scene

UP = torch.tensor([0.0, 0.0, 1.0])
CONVENTIONS = {
    "y up": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "x up": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "upside down": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "quarter turn": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
}


@pytest.fixture(scope="module")
def descriptors() -> Descriptors:
    return Descriptors()


def turned(scene: Scene, rotation: Tensor) -> Scene:
    assert scene.normals is not None
    assert scene.up is not None
    return replace(scene, points=scene.points @ rotation.T, normals=scene.normals @ rotation.T, up=rotation @ scene.up)


def corner_of_a_room(seed: int = 0) -> Scene:
    """Returns a floor, a wall and a box, with noise so that no point lies on a voxel's border."""
    torch.manual_seed(seed)
    floor = torch.rand(4000, 3) * torch.tensor([2.0, 1.6, 0.0])
    wall = torch.rand(4000, 3) * torch.tensor([0.0, 1.6, 2.2])
    top = torch.rand(800, 3) * torch.tensor([0.5, 0.4, 0.0]) + torch.tensor([0.9, 0.6, 0.45])
    points = torch.cat([floor, wall, top]) + 0.002 * torch.randn(8800, 3)
    normals = torch.zeros(8800, 3)
    normals[:4000, 2] = normals[4000:8000, 0] = normals[8000:, 2] = 1.0
    return Scene(points=points, normals=normals, colors=torch.rand(8800, 3), up=UP)


@pytest.fixture(scope="module")
def scan(shared_data: Path) -> Scene:
    vertices = PlyData.read(str(shared_data / "lounge" / "lounge.ply"))["vertex"].data[::8]
    points, normals, colors = (
        torch.from_numpy(np.stack([vertices[name] for name in names], axis=1)).float()
        for names in (("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue"))
    )
    return Scene(points=points, normals=normals, colors=colors / 255, up=torch.tensor([0.0, 1.0, 0.0]))


@pytest.fixture(scope="module")
def scan_features(scan: Scene, descriptors: Descriptors) -> Tensor:
    return descriptors.encode(scan)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_axis_conventions_of_a_real_scan(
    scan: Scene, scan_features: Tensor, descriptors: Descriptors, convention: str
) -> None:
    moved = turned(scan, torch.tensor(CONVENTIONS[convention], dtype=torch.float32))
    torch.testing.assert_close(descriptors.encode(moved), scan_features, atol=1e-3, rtol=0)


def test_turn_about_up(descriptors: Descriptors) -> None:
    scene = corner_of_a_room()
    angle = torch.tensor(0.7)
    turn = torch.eye(3)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    difference = (descriptors.encode(turned(scene, turn)) - descriptors.encode(scene)).abs()
    # float32 rounding of the turned points moves a few of them over a voxel's border, and nothing else.
    assert float(difference.mean()) < 1e-3
    assert float((difference > 0.05).float().mean()) < 0.01


def test_order_of_points(descriptors: Descriptors) -> None:
    scene = corner_of_a_room()
    order = torch.randperm(len(scene))
    assert scene.normals is not None
    assert scene.colors is not None
    shuffled = replace(scene, points=scene.points[order], normals=scene.normals[order], colors=scene.colors[order])
    expected = descriptors.encode(scene)[order]
    torch.testing.assert_close(descriptors.encode(shuffled), expected, atol=1e-5, rtol=0)


def test_repeatable_and_as_declared(descriptors: Descriptors) -> None:
    scene = corner_of_a_room()
    features = descriptors.encode(scene)
    assert isinstance(descriptors, FrozenBackbone)
    assert features.shape == (len(scene), descriptors.channels)
    assert features.dtype == torch.float32
    assert torch.equal(features, Descriptors(**descriptors.config).encode(scene))


def test_tells_floor_wall_and_table_apart(descriptors: Descriptors) -> None:
    scene = corner_of_a_room()
    features = descriptors.encode(scene)
    features = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-3)
    labels = torch.tensor([0] * 4000 + [1] * 4000 + [2] * 800)
    centers = torch.stack([features[::2][labels[::2] == label].mean(dim=0) for label in range(3)])
    nearest = torch.cdist(features[1::2], centers).argmin(dim=1)
    assert float((nearest == labels[1::2]).float().mean()) > 0.97


@pytest.mark.parametrize(
    "points",
    [torch.zeros(1, 3), torch.zeros(9, 3), torch.eye(3)[:2], torch.linspace(0, 3, 100)[:, None] * torch.ones(3)],
    ids=["one point", "duplicates", "two points", "a line"],
)
def test_tiny_clouds_without_anything(descriptors: Descriptors, points: Tensor) -> None:
    features = descriptors.encode(Scene(points=points))
    assert features.shape == (len(points), descriptors.channels)
    assert bool(features.isfinite().all())


def test_missing_colors_count_as_black(descriptors: Descriptors, caplog: pytest.LogCaptureFixture) -> None:
    scene = replace(corner_of_a_room(), colors=None)
    with caplog.at_level(logging.INFO):
        features = descriptors.encode(scene)
    assert "no colours" in caplog.text
    black = replace(scene, colors=torch.zeros(len(scene), 3))
    assert torch.equal(features, descriptors.encode(black))


def test_missing_up_is_estimated(descriptors: Descriptors, caplog: pytest.LogCaptureFixture) -> None:
    scene = replace(corner_of_a_room(), up=None)
    with caplog.at_level(logging.INFO):
        features = descriptors.encode(scene)
    assert "up is estimated" in caplog.text
    assert torch.equal(features, descriptors.encode(with_up(scene)))
