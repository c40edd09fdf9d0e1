"""What stands in front of a network of voxels: a scene is turned upright, centred and thinned to one point per voxel.

Two sources of chance of upstream's pipeline are closed: the first point of a voxel (by row) stands for it, where
upstream draws one; and cells are found by division in float64, where upstream's depend on the version of numpy.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from geoguide3d.geometry.upright import rotation_to_z_up
from geoguide3d.ops import voxel_hash
from geoguide3d.scenes.orientation import ensure_normals, with_up
from geoguide3d.scenes.scene import Scene

_log = logging.getLogger(__name__)
_LEAST_POINTS = 3  # fewer have no plane, hence no normals
_BLOCK = 64  # cells per axis; no network here pools more into one, so parts agree on what is pooled
_STEPS_PER_VOXEL = 4  # coordinates whose float32 steps are coarser than this part of a voxel are refused


@dataclass(frozen=True)
class GridSample:
    """One point for each of the M voxels that a cloud occupies, in lexicographic order of the cells.

    Args:
        cells: (M, 3) int64, the smallest index of each axis is 0.
        point_of_voxel: (M,) int64, the first point (by row) in each cell.
        voxel_of_point: (N,) int64, rows of cells.
    """

    cells: Tensor
    point_of_voxel: Tensor
    voxel_of_point: Tensor


@dataclass(frozen=True)
class NetworkInput:
    """What a network may see of a scene: one point for each of the M voxels, in lexicographic order of their cells.

    Args:
        points: (M, 3) float32 metres, z up, from where `Placement` has zero.
        colors: (M, 3) float32 RGB in [0, 1].
        normals: (M, 3) float32 unit vectors, z up; zeros where there are none.
        cells: (M, 3) int64, the smallest index of each axis is 0, of a part of a scene below 64.
        voxel_of_point: (N,) int64, rows of cells.
    """

    points: Tensor
    colors: Tensor
    normals: Tensor
    cells: Tensor
    voxel_of_point: Tensor


class Placement(StrEnum):
    """Where a network's coordinates have zero.

    ROOM: in the middle of the ranges of x and y, and at the minimum of z. Cells are cut from there.
    GROUND: in the middle of the ranges of x and y of the voxels; z is the scene's own. Cells are cut from the scene's
        own zero, as for SENSOR.
    SENSOR: where the scene has it, which is the sensor in scans of one position.
    """

    ROOM = "room"
    GROUND = "ground"
    SENSOR = "sensor"


@dataclass(frozen=True)
class Bounds:
    """The box around the points of a scene.

    Args:
        low, high: (3,) float32 metres, z up.
    """

    low: Tensor
    high: Tensor


def upright_bounds(scene: Scene) -> Bounds:
    """Returns the bounds of a scene whose `up` is known."""
    return Bounds(*_upright(scene, scene.points).aminmax(dim=0))


def network_input(
    scene: Scene,
    voxel_size_m: float,
    needs: tuple[str, ...],
    upstream_compat: bool = False,
    placement: Placement = Placement.ROOM,
    whole: Bounds | None = None,
) -> NetworkInput:
    """Returns the voxels of a scene.

    A missing up direction is estimated. What a network needs and the scene lacks is replaced and logged: normals are
    estimated, or zeros where there are fewer than three points, colours count as black. What it does not need is zeros.

    Args:
        needs: of "colors" and "normals", those that the network reads.
        upstream_compat: cells are found by division in float32, as upstream does under numpy 1.
        whole: of the scene that this one is a part of. Coordinates, cells and blocks of cells are then the whole's, so
            that parts fit together.

    Raises:
        ValueError: colours outside of 0 … 255, coordinates that float32 cannot tell apart at this voxel size, none or
            such that are not finite, or what `geoguide3d.ops.voxel_hash` refuses.
    """
    check_precision(scene.points, voxel_size_m)
    points, colors, normals = upright_values(scene, needs)
    low = None if whole is None else whole.low
    if placement is Placement.ROOM:
        shift = room_zero(points, whole)
        points, low = points - shift, None if low is None else low - shift
    voxels = grid_sample(points, voxel_size_m, upstream_compat)
    cells = voxels.cells
    if low is not None:
        ends = torch.stack([points.amin(dim=0), low])
        first, origin = _cells(ends, voxel_size_m, upstream_compat).to(torch.int64)
        cells = cells + (first - origin) % _BLOCK
    picked = voxels.point_of_voxel
    placed = points[picked]
    if placement is Placement.GROUND:
        zero = room_zero(placed, whole)
        placed = torch.cat([(placed - zero)[:, :2], placed[:, 2:]], dim=1)
    return NetworkInput(placed, colors[picked], normals[picked], cells, voxels.voxel_of_point)


def upright_values(scene: Scene, needs: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (N, 3) float32 points with z up, colours in [0, 1], and normals; what `network_input` says of them holds.

    Raises:
        ValueError: colours outside of 0 … 255.
    """
    scene = with_up(_with_normals(scene) if "normals" in needs else replace(scene, normals=None))
    normals = torch.zeros_like(scene.points) if scene.normals is None else scene.normals
    points, normals = (_upright(scene, values) for values in (scene.points, normals))
    return points, _colors(scene) if "colors" in needs else torch.zeros_like(scene.points), normals


def _upright(scene: Scene, vectors: Tensor) -> Tensor:
    assert scene.up is not None  # callers give scenes that have it
    rotation = rotation_to_z_up(scene.up).to(torch.float64)
    return (vectors.to(torch.float64) @ rotation.T).to(torch.float32)


def _with_normals(scene: Scene) -> Scene:
    if scene.normals is None and len(scene) < _LEAST_POINTS:
        _log.info("%s: %d points have no normals; they count as zero", scene.name, len(scene))
        return replace(scene, normals=torch.zeros_like(scene.points))
    return ensure_normals(scene)


def _colors(scene: Scene) -> Tensor:
    if scene.colors is None:
        _log.info("%s: no colours; they count as black", scene.name)
        return torch.zeros_like(scene.points)
    colors = normalize_color(scene.colors)
    if colors is not scene.colors and float(scene.colors.amax()) > 1:
        _log.warning("%s: colours reach %.0f; read as 0 … 255", scene.name, float(scene.colors.amax()))
    return colors


def room_zero(points: Tensor, whole: Bounds | None = None) -> Tensor:
    """Returns (3,) the middle of the ranges of x and y and the minimum of z of points ((N, 3) float32 metres, z up).

    Args:
        whole: takes the place of the points' own ranges.

    Raises:
        ValueError: no points, or coordinates that are not finite.
    """
    if len(points) == 0 or not bool(points.isfinite().all()):
        bad = int((~points.isfinite().all(dim=1)).sum())
        raise ValueError(f"a cloud needs finite points, got {len(points)}, {bad} of them with inf or NaN")
    low, high = points.aminmax(dim=0) if whole is None else (whole.low, whole.high)
    zero = (low + high) / 2
    zero[2] = low[2]
    return zero


def check_precision(points: Tensor, voxel_size_m: float) -> None:
    """Raises ValueError where points ((N, 3) float32 metres) lie so far out that float32 cannot tell voxels apart."""
    farthest = float(points.abs().amax()) if len(points) else 0.0
    step = torch.finfo(torch.float32).eps * farthest
    if step * _STEPS_PER_VOXEL > voxel_size_m:
        raise ValueError(
            f"coordinates reach {farthest:.0f} m, where float32 has steps of {step:.3g} m, too coarse for voxels of "
            f"{voxel_size_m} m: subtract an offset in float64 and keep it in Scene.origin"
        )


def grid_sample(points: Tensor, voxel_size_m: float, upstream_compat: bool = False) -> GridSample:
    """Returns one point per voxel of points ((N, 3) float32 metres).

    Args:
        upstream_compat: cells are found by division in float32, as upstream does under numpy 1; else in float64.

    Raises:
        ValueError: what `geoguide3d.ops.voxel_hash` refuses.
    """
    if upstream_compat:
        return GridSample(*voxel_hash(_cells(points, voxel_size_m, True), 1.0))
    return GridSample(*voxel_hash(points, voxel_size_m))


def _cells(points: Tensor, voxel_size_m: float, upstream_compat: bool) -> Tensor:
    dtype = torch.float32 if upstream_compat else torch.float64
    return (points.to(dtype) / torch.tensor(voxel_size_m, dtype=dtype)).floor()


def normalize_color(colors: Tensor) -> Tensor:
    """Returns (N, 3) float32 RGB in [0, 1] of colours given so, or as 0 … 255; which of the two is seen by the maximum.

    Integers are always 0 … 255; floats are where one is above 1.

    Raises:
        ValueError: negative or not finite colours, or one above 255.
    """
    values = colors.to(torch.float32)
    if len(values) == 0:
        return values
    low, high = (float(value) for value in values.aminmax())
    if not (low >= 0 and high <= 255):
        raise ValueError(f"colours must be 0 … 1 or 0 … 255, got {low:g} … {high:g}")
    return values / 255 if high > 1 or not colors.is_floating_point() else values
