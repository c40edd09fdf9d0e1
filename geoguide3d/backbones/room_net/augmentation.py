"""Two partial, distorted looks at one place of a room: what must not change RoomNet's idea of a point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.scenes.scene import Scene


@dataclass(frozen=True)
class Augmentation:
    """How strongly two views of one place differ. Lengths in metres.

    Args:
        side_m: least and greatest side of the square, along the floor, that a view shows.
        apart_m: greatest distance between the middles of two views of one place, along each axis.
        stretch: greatest factor, and its inverse the least, by which each axis is scaled.
        lift_m: greatest change of the height above the floor.
        tilt: greatest rotation about a horizontal axis, radians.
        jitter_m: standard deviation of the noise of positions.
        holes: boxes that are cut out of a view, as furniture before it would.
        hole_m: least and greatest side of those.
        kept_points: least share of points that are left.
        no_color: chance that a view has no colours (they count as black, as in scenes without).
        gray: chance that it has grey ones.
        repaint: greatest weight of colours turned and mixed at random, 0 … 1.
        no_normals: chance that it has no normals.
    """

    side_m: tuple[float, float] = (1.8, 3.0)
    apart_m: float = 0.7
    stretch: float = 1.05
    lift_m: float = 0.05
    tilt: float = 0.02
    jitter_m: float = 0.002
    holes: int = 4
    hole_m: tuple[float, float] = (0.15, 0.8)
    kept_points: float = 0.4
    no_color: float = 0.1
    gray: float = 0.1
    repaint: float = 0.3
    no_normals: float = 0.0


@dataclass(frozen=True)
class PartialView:
    """What one view shows of a room: P points with z up.

    Args:
        points: (P, 3) float32 metres, z from the floor but for the lift.
        colors: (P, 3) float32 RGB in [0, 1].
        normals: (P, 3) float32 unit vectors, or zeros.
        rows: (P,) int64, rising: which points of the scene these are.
    """

    points: Tensor
    colors: Tensor
    normals: Tensor
    rows: Tensor


def two_views(scene: Scene, how: Augmentation, generator: torch.Generator) -> tuple[PartialView, PartialView]:
    """Returns two views of one place of a scene whose z is up, around a point drawn from it.

    Args:
        scene: with colours and normals.
    """
    middle = scene.points[_draw_index(len(scene), generator), :2]
    shifts = (torch.rand(2, 2, generator=generator) - 0.5) * how.apart_m
    first, second = (_view(scene, middle + shift, how, generator) for shift in shifts)
    return first, second


def _view(scene: Scene, middle: Tensor, how: Augmentation, generator: torch.Generator) -> PartialView:
    assert scene.colors is not None and scene.normals is not None  # rooms have both
    half = _between(how.side_m, generator) / 2
    kept = ((scene.points[:, :2] - middle).abs() < half).all(dim=1)
    rows = kept.nonzero().squeeze(1)
    points = scene.points[rows] - torch.cat([middle, scene.points[:, 2].amin().reshape(1)])
    left = _seen(points, half, how, generator)
    rows, points = rows[left], points[left]
    points, normals = _moved(points, scene.normals[rows], how, generator)
    if _chance(how.no_normals, generator):
        normals = torch.zeros_like(normals)
    return PartialView(points, repainted(scene.colors[rows], how, generator), normals, rows)


def _seen(points: Tensor, half: float, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Returns (P,) bool: the points outside of the holes, thinned."""
    left = torch.rand(len(points), generator=generator) < _between((how.kept_points, 1.0), generator)
    top = float(points[:, 2].amax()) if len(points) else 0.0
    for _ in range(how.holes):
        sides = torch.tensor([_between(how.hole_m, generator) for _ in range(3)]) / 2
        where = torch.rand(3, generator=generator) * torch.tensor([2 * half, 2 * half, top])
        where = where - torch.tensor([half, half, 0.0])
        left &= ~((points - where).abs() < sides).all(dim=1)
    return left


def _moved(points: Tensor, normals: Tensor, how: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns positions and normals after turning, mirroring, tilting, stretching, lifting and shaking."""
    log = math.log(how.stretch)
    scale = torch.exp((torch.rand(3, generator=generator) * 2 - 1) * log)
    turn = _rotation(2, 2 * math.pi * _between((0.0, 1.0), generator))
    tilts = [_rotation(axis, how.tilt * _between((-1.0, 1.0), generator)) for axis in (0, 1)]
    mirror = torch.diag(torch.tensor([-1.0 if _chance(0.5, generator) else 1.0, 1.0, 1.0]))
    # Stretched along the room's own axes first, or boxes would lose their right angles.
    matrix = tilts[0] @ tilts[1] @ turn @ mirror
    lift = torch.tensor([0.0, 0.0, how.lift_m * _between((-1.0, 1.0), generator)])
    noise = how.jitter_m * torch.randn(points.shape, generator=generator)
    return (points * scale) @ matrix.T + lift + noise, normalize((normals / scale) @ matrix.T, dim=1)


def repainted(colors: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Returns (P, 3) colours in [0, 1] as paint might have it: none (black), grey, or mixed and shifted."""
    if _chance(how.no_color, generator):
        return torch.zeros_like(colors)
    weight = how.repaint * _between((0.0, 1.0), generator)
    mixed = colors @ torch.rand(3, 3, generator=generator).softmax(dim=0)
    swapped = mixed[:, torch.randperm(3, generator=generator)]
    painted = colors.lerp(swapped, weight)
    if _chance(how.gray, generator):
        painted = painted.mean(dim=1, keepdim=True).expand_as(painted)
    contrast = torch.exp(0.4 * weight * torch.randn(3, generator=generator))
    brightness = 0.2 * weight * torch.randn(3, generator=generator)
    noise = 0.03 * torch.randn(colors.shape, generator=generator)
    return ((painted - 0.5) * contrast + 0.5 + brightness + noise).clamp(0, 1)


def _rotation(axis: int, angle: float) -> Tensor:
    first, second = [other for other in range(3) if other != axis]
    matrix = torch.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix


def _between(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=generator))


def _chance(probability: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < probability


def _draw_index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
