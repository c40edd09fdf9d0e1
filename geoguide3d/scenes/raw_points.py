"""What a point file holds, put in order: units, types, gaps and large coordinates become a Scene in one place."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.scenes.scene import IGNORED_LABEL, NO_INSTANCE, Scene

Array = NDArray[Any]

LABEL_NAMES = ("label", "semantic_label", "class", "scalar_label")
INSTANCE_NAMES = ("instance", "instance_id", "objectid", "object_id")
"""Names, in lower case, under which files keep class ids and object ids; the first one present is read."""

FAR_FROM_ZERO_M = 1000.0  # beyond it float32 steps exceed 0.06 mm and grow to centimetres at UTM coordinates


@dataclass(frozen=True)
class RawPoints:
    """The arrays of one file, M rows each, in whatever type and range the file has them.

    Args:
        points: (M, 3) coordinates; rows with inf or NaN are allowed and will be dropped.
        colors: (M, 3) RGB. Integers count to 255, or to 65535 where one exceeds 255. Floats are in [0, 1], or count
            to 255 where one exceeds 2, or to 65535 where one exceeds 255.
        normals: (M, 3) of any length; zero or non-finite = none.
        labels: (M,) whole numbers of any type, negative or non-finite = ignored.
        instances: (M,) whole numbers of any type, negative or non-finite = none.
        faces: (F, 3) row numbers.
        up: (3,) direction.
        origin: (3,) float64, where the file stores points relative to it; None: points are in the world.
    """

    points: Array
    colors: Array | None = None
    normals: Array | None = None
    labels: Array | None = None
    instances: Array | None = None
    faces: Array | None = None
    up: Array | None = None
    origin: Array | None = None

    def to_scene(self, path: Path) -> Scene:
        """Returns the Scene of the rows with finite coordinates.

        Rows with inf or NaN coordinates are dropped with a UserWarning that counts them, and marked in `Scene.kept`;
        faces that touch them go too. Where a coordinate lies further than 1000 m from zero, `Scene.origin` becomes
        the median point rounded to metres, so that float32 keeps its precision and a stray point does not move it.

        Raises:
            ValueError: no point, no finite point, an array of another shape, a face index out of range, labels that
                are not whole numbers, an origin or up that is none.
        """
        points = np.asarray(self.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{path}: points must be (M, 3), got {points.shape}; store x, y and z of every point")
        if len(points) == 0:
            raise ValueError(f"{path}: holds zero points; export it again with its vertices")
        self._check_shapes(path)
        kept = _finite_rows(points, path)
        rows = slice(None) if kept.all() else kept  # a slice spares the copies of the usual case
        points = points[rows]
        origin = _origin_of(points) if self.origin is None else np.asarray(self.origin, dtype=np.float64)
        relative = points if self.origin is not None else points - origin
        return Scene(
            points=_tensor(relative, np.float32),
            origin=torch.from_numpy(origin.copy()),
            up=None if self.up is None else _tensor(self.up, np.float32),
            colors=None if self.colors is None else _unit_colors(self.colors[rows], path),
            normals=None if self.normals is None else _unit_normals(self.normals[rows]),
            faces=None if self.faces is None else _faces_between(self.faces, kept, path),
            labels=None if self.labels is None else _ids(self.labels[rows], IGNORED_LABEL, f"{path}: labels"),
            instances=None if self.instances is None else _ids(self.instances[rows], NO_INSTANCE, f"{path}: instances"),
            kept=None if kept.all() else torch.from_numpy(kept),
            name=path.stem,
            source=path,
        )

    def _check_shapes(self, path: Path) -> None:
        count = len(self.points)
        shapes = {"colors": (count, 3), "normals": (count, 3), "labels": (count,), "instances": (count,)}
        shapes |= {"up": (3,), "origin": (3,)}
        for name, expected in shapes.items():
            value: Array | None = getattr(self, name)
            if value is not None and value.shape != expected:
                raise ValueError(f"{path}: {name} must be {expected} for {count} points, got {value.shape}")
        if self.origin is not None and not np.isfinite(self.origin).all():
            raise ValueError(f"{path}: origin must be finite metres, got {self.origin.tolist()}")
        if self.up is not None and not 0 < np.linalg.norm(self.up) < np.inf:
            raise ValueError(f"{path}: up must be a direction, got {self.up.tolist()}; leave it out if it is unknown")


def _finite_rows(points: Array, path: Path) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):  # a float64 too large for float32 is as lost as inf
        kept = _finite(points.astype(np.float32))
    dropped = len(kept) - int(np.count_nonzero(kept))
    if dropped == len(points):
        raise ValueError(f"{path}: all {dropped} points have inf or NaN coordinates; export it again")
    if dropped:
        warnings.warn(f"{path}: dropped {dropped} of {len(points)} points with inf or NaN coordinates", stacklevel=4)
    return kept


def _finite(rows: Array) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.all(np.isfinite(rows), axis=1)
    return finite


def _origin_of(points: Array) -> NDArray[np.float64]:
    if np.abs(points).max() <= FAR_FROM_ZERO_M:
        return np.zeros(3)
    return np.round(np.median(points, axis=0))


def _unit_colors(colors: Array, path: Path) -> Tensor:
    values = np.asarray(colors, dtype=np.float32)
    known = _finite(values)
    if not known.all():
        lost = len(known) - np.count_nonzero(known)
        warnings.warn(f"{path}: {lost} points have inf or NaN colours and become black", stacklevel=4)
        values = np.where(known[:, None], values, np.float32(0))
    # Floats may overshoot 1 a little (spherical harmonics, resampling), which does not make them 0..255.
    ranges = (255.0, 65535.0) if np.issubdtype(colors.dtype, np.integer) else (1.0, 255.0, 65535.0)
    largest = values.max()
    full = next((top for top in ranges if largest <= max(top, 2.0)), ranges[-1])
    return _tensor(np.clip(values / np.float32(full), 0, 1), np.float32)


def _unit_normals(normals: Array) -> Tensor | None:
    values = np.asarray(normals, dtype=np.float64)
    values = np.where(_finite(values)[:, None], values, 0.0)
    if not values.any():  # splat files carry columns of zeros in the place of normals
        return None
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return _tensor(values / np.where(lengths > 0, lengths, 1.0), np.float32)


def _ids(values: Array, missing: int, what: str) -> Tensor:
    if np.issubdtype(values.dtype, np.floating):
        values = np.where(np.isfinite(values), values, -1)
        fractions = values[values != np.round(values)]
        if len(fractions):
            raise ValueError(
                f"{what} must be whole numbers, got {fractions[0]}; rename the property if it holds scores"
            )
    ids = values.astype(np.int64)
    return torch.from_numpy(np.where(ids < 0, missing, ids))


def _faces_between(faces: Array, kept: NDArray[np.bool_], path: Path) -> Tensor | None:
    faces = faces.astype(np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"{path}: faces must be (F, 3), got {faces.shape}; triangulate the mesh")
    wrong = faces[(faces < 0) | (faces >= len(kept))]
    if len(wrong):
        raise ValueError(f"{path}: a face names vertex {wrong[0]}, but there are {len(kept)}; export the mesh again")
    if len(faces) == 0:
        return None
    row_of = np.cumsum(kept) - 1
    return torch.from_numpy(row_of[faces[kept[faces].all(axis=1)]])


def _tensor(values: Array, dtype: type[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))
