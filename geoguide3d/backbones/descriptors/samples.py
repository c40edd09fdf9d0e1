"""The cloud as descriptors see it: one sample per voxel, upright, turned to the walls, standing on its floor."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.upright import rotation_to_z_up
from geoguide3d.geometry.voxels import voxelize
from geoguide3d.scenes.orientation import ensure_normals, with_up
from geoguide3d.scenes.scene import Scene

_log = logging.getLogger(__name__)
_FLOOR_AND_CEILING = (0.01, 0.99)  # quantiles of height: stray points lie below the floor and behind windows


@dataclass(frozen=True)
class Samples:
    """M voxels, in float64 so that rounding moves no point over a voxel's border.

    Args:
        positions: (M, 3) mean position; z is up from the floor, x and y run along the walls from the room's centre.
            Which of the four ways the walls allow is left open: features must not tell them apart.
        normals: (M, 3) unit, or zero where the normals of a voxel cancel out.
        colors: (M, 3) mean RGB in [0, 1], zeros where the scene has no colours.
        counts: (M,) points in each voxel.
        ceiling_m: height of the highest surface.
        voxel_of_point: (N,) int64.
    """

    positions: Tensor
    normals: Tensor
    colors: Tensor
    counts: Tensor
    ceiling_m: float
    voxel_of_point: Tensor

    def __len__(self) -> int:
        return len(self.positions)


def sample(scene: Scene, voxel_size_m: float) -> Samples:
    """Returns the scene's voxels; missing normals and a missing up direction are estimated, missing colours zero."""
    scene = with_up(ensure_normals(scene))
    assert scene.normals is not None  # what ensure_normals is for
    assert scene.up is not None  # what with_up is for
    if scene.colors is None:
        _log.info("%s: no colours; the colour features are zero", scene.name)
    rotation = _upright_along_walls(scene.normals.to(torch.float64), scene.up)
    points, normals = (values.to(torch.float64) @ rotation.T for values in (scene.points, scene.normals))
    # The middle of the box is the one origin that a quarter turn of the room leaves in place, and the grid with it.
    points[:, :2] -= (points[:, :2].amin(dim=0) + points[:, :2].amax(dim=0)) / 2
    points[:, 2] -= points[:, 2].amin()
    grid = voxelize(points, voxel_size_m)
    colors = torch.zeros_like(points) if scene.colors is None else scene.colors.to(torch.float64)
    sums = torch.zeros(len(grid), 10, dtype=torch.float64)
    ones = torch.ones(len(points), 1, dtype=torch.float64)
    sums.index_add_(0, grid.voxel_of_point, torch.cat([points, normals, colors, ones], dim=1))
    means = sums[:, :9] / sums[:, 9:]
    floor, ceiling = torch.quantile(means[:, 2], torch.tensor(_FLOOR_AND_CEILING, dtype=torch.float64))
    means[:, 2] -= floor
    return Samples(
        positions=means[:, :3],
        normals=normalize(means[:, 3:6], dim=1),
        colors=means[:, 6:],
        counts=sums[:, 9],
        ceiling_m=float(ceiling - floor),
        voxel_of_point=grid.voxel_of_point,
    )


def _upright_along_walls(normals: Tensor, up: Tensor) -> Tensor:
    """Returns (3, 3) float64: z up, then x along the walls. Four times an angle is the same for all four walls."""
    to_z_up = rotation_to_z_up(up)
    x, y, _ = (normals @ to_z_up.T).T
    fourfold = torch.complex(x, y).pow(4).sum()
    yaw = torch.zeros(()) if fourfold.abs() < 1e-9 * len(normals) else fourfold.angle() / 4
    cos, sin = float(yaw.cos()), float(yaw.sin())
    return torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64) @ to_z_up
