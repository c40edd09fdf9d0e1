"""PLY files, through plyfile.

plyfile is licensed GPL-3.0-or-later, which is why it is imported in this module alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import torch
from torch import Tensor

from geoguide3d.scenes.raw_points import INSTANCE_NAMES, LABEL_NAMES, Array, RawPoints
from geoguide3d.scenes.scene import IGNORED_LABEL, NO_INSTANCE, Scene
from geoguide3d.store.atomic import atomic_file

_COORDINATES = ("x", "y", "z")
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_GREYS = ("intensity", "scalar_intensity")
_HARMONICS = ("f_dc_0", "f_dc_1", "f_dc_2")  # the constant term of a Gaussian splat's colour
_HARMONIC_0 = 0.28209479177387814  # 1 / (2 √π)
_NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
_FACES = ("vertex_indices", "vertex_index")


def read_ply(path: str | os.PathLike[str]) -> Scene:
    """Reads a PLY file, ASCII or binary of either byte order, as a Scene in the order of its vertices.

    Properties are found by name, in any order and case: x y z; red green blue, diffuse_red …, r g b, the f_dc_0..2 of
    Gaussian splats or, last, intensity as grey (ranges: see `RawPoints`; alpha is not read); nx ny nz; label,
    semantic_label or class; instance, instance_id, objectId or object_id. Faces come from vertex_indices or
    vertex_index, polygons as fans of triangles.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a PLY file, truncated, without x y z, without a finite point, faces out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such PLY file")
    data = _parse(path)
    if "vertex" not in data:
        raise ValueError(f"{path}: no element 'vertex' in the header, only {[element.name for element in data]}")
    columns = {prop.name.lower(): data["vertex"][prop.name] for prop in data["vertex"].properties}
    columns = {name: column for name, column in columns.items() if column.dtype != object and column.ndim == 1}
    points = _together(columns, _COORDINATES)
    if points is None:
        raise ValueError(f"{path}: the vertices need scalar properties x, y and z, found only {sorted(columns)}")
    return RawPoints(
        points=points,
        colors=_colors(columns),
        normals=next((found for names in _NORMALS if (found := _together(columns, names)) is not None), None),
        labels=next((np.array(columns[name]) for name in LABEL_NAMES if name in columns), None),
        instances=next((np.array(columns[name]) for name in INSTANCE_NAMES if name in columns), None),
        faces=_triangles(data, path),
    ).to_scene(path)


def write_ply(
    path: str | os.PathLike[str],
    scene: Scene,
    *,
    colors: Tensor | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes a binary PLY that overlays the scene's input: its coordinates, its order, its number of rows.

    Rows that the reader dropped come back with NaN coordinates, black, and without label or instance. Coordinates are
    double where the scene has an origin, else float. The file replaces an older one only once it is whole.

    Args:
        colors: (N, 3) RGB, floats in [0, 1] or uint8, in the place of the scene's own.
        extra: further properties by name, (N,) each: floating → float, bool and uint8 → uchar, integers → int. Dropped
            rows hold NaN, 0 and -1. `label` and `instance` replace the scene's own.

    Raises:
        ValueError: a tensor of another length, a name that is taken or that PLY cannot hold, an integer beyond 32 bits.
    """
    columns = dict(_scene_columns(scene, scene.colors if colors is None else colors))
    fixed = set(columns)
    for name, ids, missing in (("label", scene.labels, IGNORED_LABEL), ("instance", scene.instances, NO_INSTANCE)):
        if ids is not None:
            columns[name] = scene.to_input_rows(_checked_column(name, ids, scene), missing)
    for name, values in (extra or {}).items():
        if name in fixed or not name.isascii() or len(name.split()) != 1:
            raise ValueError(f"{path}: cannot add property {name!r}; take one ASCII word other than {sorted(fixed)}")
        column = _checked_column(name, values, scene)
        fill = {torch.float32: float("nan"), torch.int32: -1, torch.uint8: 0}[column.dtype]
        columns[name] = scene.to_input_rows(column, fill)
    arrays = {name: column.numpy() for name, column in columns.items()}
    vertices = np.empty(scene.input_count, dtype=[(name, array.dtype.str) for name, array in arrays.items()])
    for name, array in arrays.items():
        vertices[name] = array
    elements = [plyfile.PlyElement.describe(vertices, "vertex")]
    if scene.faces is not None:
        elements.append(plyfile.PlyElement.describe(_face_rows(scene), "face"))
    with atomic_file(path) as temporary:
        plyfile.PlyData(elements, byte_order="<").write(str(temporary))


def _parse(path: Path) -> Any:
    try:
        # plyfile maps faces at once where it is told how many corners all of them have, and else reads row by row.
        for corners in (3, 4):
            lengths = {"vertex_indices": corners, "vertex_index": corners, "texcoord": 2 * corners}
            with suppress(plyfile.PlyElementParseError):
                return plyfile.PlyData.read(str(path), known_list_len={"face": lengths})
        return plyfile.PlyData.read(str(path))
    except (plyfile.PlyParseError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: not a whole PLY file ({error}); copy or export it again") from error


def _together(columns: Mapping[str, Array], names: tuple[str, ...]) -> Array | None:
    """Returns the named columns side by side, (M, len(names)), or None where one is absent."""
    if not all(name in columns for name in names):
        return None
    return np.stack([columns[name] for name in names], axis=1)


def _colors(columns: Mapping[str, Array]) -> Array | None:
    for names in _COLORS:
        if (found := _together(columns, names)) is not None:
            return found
    if (harmonics := _together(columns, _HARMONICS)) is not None:
        return np.clip(0.5 + _HARMONIC_0 * harmonics, 0, 1)
    grey = next((columns[name] for name in _GREYS if name in columns), None)
    return None if grey is None else np.stack([grey] * 3, axis=1)


def _triangles(data: Any, path: Path) -> Array | None:
    if "face" not in data or data["face"].count == 0:
        return None
    lists = [prop.name for prop in data["face"].properties if isinstance(prop, plyfile.PlyListProperty)]
    name = next((name for name in _FACES if name in lists), None)
    if name is None:
        raise ValueError(f"{path}: the faces need a list vertex_indices or vertex_index, found only lists {lists}")
    polygons = data["face"][name]
    if polygons.ndim == 2:
        return _fans(np.array(polygons))
    sizes = np.array([len(polygon) for polygon in polygons])
    by_size = [_fans(np.stack(polygons[sizes == size])) for size in np.unique(sizes[sizes >= 3])]
    return np.concatenate(by_size) if by_size else None


def _fans(polygons: Array) -> Array:
    """Returns the triangles of convex polygons with equally many corners, (F, k) → (F · (k - 2), 3)."""
    first, *others = polygons.T
    return np.stack([np.stack([first, *pair], axis=1) for pair in pairwise(others)], axis=1).reshape(-1, 3)


def _scene_columns(scene: Scene, colors: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    """Yields the properties that every file of this scene has, input_count rows each."""
    points = scene.points_world if bool(scene.origin_world.any()) else scene.points
    yield from zip(_COORDINATES, scene.to_input_rows(points.cpu(), float("nan")).unbind(1), strict=True)
    if scene.normals is not None:
        yield from zip(_NORMALS[0], scene.to_input_rows(scene.normals.cpu(), 0.0).unbind(1), strict=True)
    if colors is not None:
        if colors.shape != (len(scene), 3):
            raise ValueError(f"{scene.name}: colors must be ({len(scene)}, 3), got {tuple(colors.shape)}")
        colors = colors.detach().cpu()
        if colors.dtype != torch.uint8:
            colors = (colors.to(torch.float32).clamp(0, 1) * 255).round().to(torch.uint8)
        yield from zip(_COLORS[0], scene.to_input_rows(colors, 0).unbind(1), strict=True)


def _checked_column(name: str, values: Tensor, scene: Scene) -> Tensor:
    """Returns values (N,) as float32, int32 or uint8 on the CPU."""
    if values.shape != (len(scene),):
        raise ValueError(f"{scene.name}: property {name} must be ({len(scene)},), got {tuple(values.shape)}")
    values = values.detach().cpu()
    if values.is_floating_point():
        return values.to(torch.float32)
    if values.dtype in (torch.bool, torch.uint8):
        return values.to(torch.uint8)
    limits = torch.iinfo(torch.int32)
    if int(values.min()) < limits.min or int(values.max()) > limits.max:
        raise ValueError(f"{scene.name}: property {name} holds {int(values.max())}, PLY integers have 32 bits")
    return values.to(torch.int32)


def _face_rows(scene: Scene) -> Array:
    assert scene.faces is not None
    faces = scene.faces.cpu()
    if scene.kept is not None:
        faces = scene.kept.cpu().nonzero()[:, 0][faces]
    rows = np.empty(len(faces), dtype=[("vertex_indices", "<i4", (3,))])
    rows["vertex_indices"] = faces.numpy()
    return rows
