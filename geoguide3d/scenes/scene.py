"""Scene: the point cloud that every room of this package speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

IGNORED_LABEL = 255
NO_INSTANCE = -1

_FIELDS = {  # name: (columns or None for a vector, dtype)
    "points": (3, torch.float32),
    "colors": (3, torch.float32),
    "normals": (3, torch.float32),
    "labels": (None, torch.int64),
    "instances": (None, torch.int64),
}


@dataclass(frozen=True)
class Scene:
    """A point cloud, or the vertices of a mesh, in the order of its file.

    Args:
        points: (N, 3) float32 metres, relative to origin, in the axes of the file.
        origin: (3,) float64 metres; world position of points' zero. Zeros by default.
        up: (3,) float32 unit vector, or None where nobody has said which way is up.
        colors: (N, 3) float32 RGB in [0, 1].
        normals: (N, 3) float32 unit vectors.
        faces: (F, 3) int64 indices into points.
        labels: (N,) int64, 255 = ignored.
        instances: (N,) int64, -1 = none.
        kept: (input_count,) bool, the rows of the input that became points; None where all did. Rows with inf or NaN
            coordinates are dropped by the readers, and `to_input_rows` brings results back to the input's length.
        name: a short name for messages and output files.
        source: the file it came from.

    Raises:
        ValueError: a field of another shape or dtype, no points at all, or coordinates that are not finite, faces of
            points that are not there, or an `up` of length 0.
    """

    points: Tensor
    origin: Tensor | None = None
    up: Tensor | None = None
    colors: Tensor | None = None
    normals: Tensor | None = None
    faces: Tensor | None = None
    labels: Tensor | None = None
    instances: Tensor | None = None
    kept: Tensor | None = None
    name: str = "scene"
    source: Path | None = None

    def __post_init__(self) -> None:
        for field, (columns, dtype) in _FIELDS.items():
            value: Tensor | None = getattr(self, field)
            if value is None:
                continue
            expected = (len(self.points),) if columns is None else (len(self.points), columns)
            if tuple(value.shape) != expected or value.dtype != dtype:
                raise ValueError(
                    f"{self.name}: {field} must be {expected} {dtype}, got {tuple(value.shape)} {value.dtype}"
                )
        if len(self.points) == 0:
            raise ValueError(f"{self.name}: a scene needs at least one point")
        if not bool(torch.isfinite(self.points).all()):
            raise ValueError(f"{self.name}: points hold inf or NaN; drop those rows and say so in `kept`")
        self._check_faces()
        if self.kept is not None and int(self.kept.sum()) != len(self.points):
            raise ValueError(f"{self.name}: kept marks {int(self.kept.sum())} rows for {len(self.points)} points")
        origin = torch.zeros(3, dtype=torch.float64) if self.origin is None else self.origin.to(torch.float64)
        object.__setattr__(self, "origin", origin)
        if self.up is not None:
            if self.up.shape != (3,) or not bool(self.up.isfinite().all()) or not bool(self.up.any()):
                raise ValueError(f"{self.name}: up must be three finite numbers, not all 0, got {self.up.tolist()}")
            object.__setattr__(self, "up", torch.nn.functional.normalize(self.up.to(torch.float32), dim=0))

    def _check_faces(self) -> None:
        if self.faces is None:
            return
        if self.faces.ndim != 2 or self.faces.shape[1] != 3 or self.faces.dtype != torch.int64:
            raise ValueError(
                f"{self.name}: faces must be (F, 3) int64, got {tuple(self.faces.shape)} {self.faces.dtype}"
            )
        if self.faces.numel() and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < len(self.points):
            raise ValueError(f"{self.name}: faces name points outside of 0 … {len(self.points) - 1}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def origin_world(self) -> Tensor:
        """(3,) float64 metres: origin, never None."""
        assert self.origin is not None  # set by __post_init__
        return self.origin

    @property
    def points_world(self) -> Tensor:
        """(N, 3) float64 metres in the frame of the file and of its cameras."""
        return self.points.to(torch.float64) + self.origin_world

    @property
    def input_count(self) -> int:
        """Number of rows of the input, dropped ones included."""
        return len(self.points) if self.kept is None else len(self.kept)

    def to_input_rows(self, values: Tensor, fill: float) -> Tensor:
        """Returns values (N, …) as (input_count, …), with `fill` in the rows that the reader dropped."""
        if self.kept is None:
            return values
        rows = values.new_full((self.input_count, *values.shape[1:]), fill)
        rows[self.kept.to(values.device)] = values
        return rows
