"""Rooms of a floor with boxes and pillars on it, for tests that must not need a renderer."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.scenes.rooms.splits import SPLITS, Split
from geoguide3d.scenes.scene import Scene

FLOOR, BOX, PILLAR = 1, 30, 13  # as the categories of procedural rooms are numbered
SIZES = {BOX: (0.4, 0.4, 0.3), PILLAR: (0.16, 0.16, 1.1)}


def fake_scene(seed: int, split: Split) -> Scene:
    """Returns a floor of 2 m × 2 m with two boxes and two pillars of different colours, z up."""
    generator = torch.Generator().manual_seed(10 * seed + SPLITS.index(split))
    parts = [_side((0.0, 0.0, 0.0), (2.0, 2.0), 2, FLOOR, 0)]
    for number, category in enumerate((BOX, PILLAR, BOX, PILLAR)):
        place = torch.tensor([0.5 + number % 2, 0.5 + number // 2]) + 0.2 * torch.rand(2, generator=generator)
        x, y, z = SIZES[category]
        left, front = float(place[0]), float(place[1])
        for axis, corner, sides in (
            (2, (left, front, z), (x, y)),
            (0, (left, front, 0.0), (y, z)),
            (0, (left + x, front, 0.0), (y, z)),
            (1, (left, front, 0.0), (x, z)),
            (1, (left, front + y, 0.0), (x, z)),
        ):
            parts.append(_side(corner, sides, axis, category, number + 1))
    points, normals, labels, instances = (torch.cat(values) for values in zip(*parts, strict=True))
    paint = torch.rand(5, 3, generator=generator)[instances]
    points = points + 0.002 * torch.randn(points.shape, generator=generator)
    up = torch.tensor([0.0, 0.0, 1.0])
    return Scene(points, up=up, colors=paint, normals=normals, labels=labels, instances=instances, name=f"fake {seed}")


def _side(
    corner: tuple[float, float, float], sides: tuple[float, float], axis: int, label: int, instance: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns points 2.5 cm apart on a rectangle across an axis, their normals, labels and instances."""
    grid = torch.cartesian_prod(*(torch.arange(0.0, side, 0.025) for side in sides))
    points = torch.zeros(len(grid), 3)
    points[:, [other for other in range(3) if other != axis]] = grid
    normals = torch.eye(3)[axis].expand(len(grid), 3)
    ids = torch.full((len(grid),), instance)
    return points + torch.tensor(corner), normals, torch.full((len(grid),), label), ids
