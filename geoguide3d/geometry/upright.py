"""Which way is up in a room, from its surfaces and, where there are any, its cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.voxels import voxelize

_CELL_M = 0.05
_MOST_SAMPLES = 20_000
_SAMPLES_PER_CHUNK = 4_096
_TRIED_DIRECTIONS = 1_000
_MOST_AXES = 6
_ALONG = math.cos(math.radians(12.0))  # |cosine| from which a normal counts as along an axis
_ACROSS = math.sin(math.radians(12.0))  # |cosine| up to which it counts as at right angles to it
_TALL_PENALTY = 0.2  # rooms are mostly wider than high; 0.05 to 0.2 served 40 procedural rooms and the real scans alike
_CAMERAS_AGREE = math.cos(math.radians(40.0))


@dataclass(frozen=True)
class _Surfaces:
    """One sample per occupied cell, so that every square metre counts alike however densely it was scanned."""

    positions: Tensor  # (M, 3) float64
    normals: Tensor  # (M, 3) float64 unit


def estimate_up(
    points: Tensor,  # (N, 3) metres
    normals: Tensor,  # (N, 3) unit
    cameras_up: Tensor | None = None,  # (V, 3) the direction in the points' axes that is up in each image
) -> Tensor:
    """Returns (3,) float32, the unit vector that points away from the floor.

    The axis is the direction that most surfaces are either along (floor, ceiling, tops: normals parallel to it) or
    around (walls, sides of furniture however it is turned: normals at right angles to it), and along which the cloud is
    not the longest. Its sign is the one for which tops between floor and ceiling face up and more of what there is lies
    low. Cameras, held upright on average,
    decide between axes and fix the sign.

    Args:
        normals: of either sign; normals that all face the cloud's centre carry no vote where they face it.
    """
    surfaces = _sample(points, normals)
    axes = _surface_axes(surfaces.normals)
    scores = _axis_scores(surfaces, axes)
    if cameras_up is None:
        up = axes[int(scores.argmax())]
        return (up if _sign_score(surfaces, up) >= 0 else -up).to(torch.float32)
    held_up = normalize(normalize(cameras_up.to(torch.float64), dim=-1).mean(dim=0), dim=0)
    agreement = axes @ held_up
    best = int((scores * agreement**4).argmax())
    # Cameras that never saw a floor or a top: their own mean is the best there is.
    up = axes[best] * agreement[best].sign() if float(agreement[best].abs()) > _CAMERAS_AGREE else held_up
    return up.to(torch.float32)


def rotation_to_z_up(up: Tensor) -> Tensor:
    """Returns (3, 3) float64, the smallest rotation that takes the direction up ((3,)) to +z.

    For a row of points: `points @ rotation_to_z_up(up).T`. Where up is an axis of the frame, all entries are exactly
    0, 1 or -1; for up = -z, which has no smallest rotation, it is a half turn about x.

    Raises:
        ValueError: up has no direction.
    """
    x, y, z = (float(value) for value in _direction(up))
    if z < 0 and x == 0 and y == 0:
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    # Rodrigues' formula for the axis up × z, with (1 - cos) / sin² = 1 / (1 + cos); near -z the denominator is
    # small, and x² + y² over 1 - z is the same number without cancellation.
    along = 1.0 + z if z > -0.5 else (x * x + y * y) / (1.0 - z)
    return torch.tensor(
        [[1.0 - x * x / along, -x * y / along, -x], [-x * y / along, 1.0 - y * y / along, -y], [x, y, z]],
        dtype=torch.float64,
    )


def _direction(up: Tensor) -> Tensor:
    if up.shape != (3,) or not bool(torch.isfinite(up).all()) or float(up.norm()) == 0.0:
        raise ValueError(f"up must be three finite numbers, not all zero, got {up.tolist()}")
    return normalize(up.detach().cpu().to(torch.float64), dim=0)


def _sample(points: Tensor, normals: Tensor) -> _Surfaces:
    grid = voxelize(points, _CELL_M)
    sums = torch.zeros(len(grid), 6, dtype=torch.float64)
    sums.index_add_(0, grid.voxel_of_point, torch.cat([points, normals], dim=1).to(torch.float64))
    counts = torch.bincount(grid.voxel_of_point)
    if len(sums) > _MOST_SAMPLES:
        kept = torch.linspace(0, len(sums) - 1, _MOST_SAMPLES, dtype=torch.float64).long()
        sums, counts = sums[kept], counts[kept]
    return _Surfaces(sums[:, :3] / counts.unsqueeze(1), normalize(sums[:, 3:], dim=1))


def _surface_axes(normals: Tensor) -> Tensor:
    """Returns (A, 3) unit axes: the modes of the normals' directions, sign ignored, and the axes of the file."""
    tried = torch.cat([torch.eye(3, dtype=torch.float64), _half_sphere(_TRIED_DIRECTIONS)])
    votes = torch.zeros(len(tried), dtype=torch.int64)
    for chunk in torch.split(normals, _SAMPLES_PER_CHUNK):
        votes += ((chunk @ tried.T).abs() > _ALONG).sum(dim=0)
    least = max(1, int(votes.max()) // 20)
    axes: list[Tensor] = []
    while len(axes) < _MOST_AXES and int(votes.max()) >= least:
        axis = tried[int(votes.argmax())]
        for _ in range(4):
            near = normals[(normals @ axis).abs() > _ALONG]
            axis = torch.linalg.eigh(near.T @ near).eigenvectors[:, -1]
        axes.append(axis)
        votes[(tried @ axis).abs() > math.cos(math.radians(25.0))] = 0
    return torch.stack(axes)


def _axis_scores(surfaces: _Surfaces, axes: Tensor) -> Tensor:
    """Returns (A,): the share of surfaces along or around each axis, less a fifth of the cloud's relative extent."""
    cosines = (surfaces.normals @ axes.T).abs()
    explained = ((cosines > _ALONG) | (cosines < _ACROSS)).to(torch.float64).mean(dim=0)
    extents = (surfaces.positions @ axes.T).aminmax(dim=0)
    lengths = extents.max - extents.min
    return explained - _TALL_PENALTY * lengths / lengths.amax().clamp(min=1e-6)


def _sign_score(surfaces: _Surfaces, axis: Tensor) -> float:
    """Returns a positive number where +axis is up, a negative one where -axis is."""
    heights, facing = surfaces.positions @ axis, surfaces.normals @ axis
    floor, ceiling = torch.quantile(heights, torch.tensor([0.005, 0.995], dtype=torch.float64))
    level = (heights - floor) / (ceiling - floor).clamp(min=1e-6)
    between = (level > 0.1) & (level < 0.9)
    tops = between & (facing.abs() > _ALONG)
    # Normals guessed from bare points face the cloud's centre; only real ones ever face away from it.
    faces_away = (surfaces.positions.mean(dim=0) - surfaces.positions).mul(surfaces.normals).sum(dim=1) < 0
    votes = facing.sign() * torch.where(faces_away, 1.0, 0.25) * tops
    lower = (level < 0.5).double() - (level >= 0.5).double()
    return float(
        votes.sum() / tops.sum().clamp(min=0.02 * len(level)) + lower.mean() + lower[between].sum() / len(level)
    )


def _half_sphere(count: int) -> Tensor:
    """Returns (count, 3) unit vectors spread evenly over z > 0 (a Fibonacci spiral)."""
    index = torch.arange(count, dtype=torch.float64)
    z = 1.0 - (index + 0.5) / count
    turn = index * (math.pi * (3.0 - math.sqrt(5.0)))
    radius = (1.0 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], dim=1)
