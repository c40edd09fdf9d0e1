"""Point clouds as OpenScene's preprocessing writes them: .pth files of torch that hold a tuple of numpy arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from geoguide3d.scenes.raw_points import Array, RawPoints
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.torch_files import numbers_of, read_torch_file

SUFFIX = "_vh_clean_2"  # of ScanNet's meshes, in whose vertex order the points are
_FORM = "an OpenScene file is a tuple (coordinates (N, 3), colours (N, 3) in [-1, 1] or the number 0, labels (N,))"
_UP = np.array([0.0, 0.0, 1.0])
_OVERSHOOT = 1e-3  # colours that were kept as float16 miss their range by that much


def read_openscene(path: Path) -> Scene:
    """Reads `scannet_3d/{split}/{scene}_vh_clean_2.pth` and its sisters of Matterport3D, nuScenes and Replica.

    They hold a tuple (openscene @ 0f369bc, `scripts/preprocess/`): coordinates in metres, in the axes of the data set's
    own meshes, neither centred nor aligned to the walls; colours rgb / 127.5 − 1, or the number 0 where there are none
    (nuScenes); labels, of which 255 and negative ones (−100) are ignored. Points keep the order of the file, which is
    that of ScanNet's `_vh_clean_2.ply`: superpoints, masks and fused features count along it. z is up in all of these
    data sets; the files do not say it, OpenScene's loader turns them about z. The scene's name has no `_vh_clean_2`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, one that holds something else or objects of Python, colours out of range, or what
            `RawPoints` refuses.
    """
    coordinates, colors, labels = _parts(read_torch_file(path), path)
    raw = RawPoints(
        points=_array(coordinates, "coordinates", path),
        colors=_unit_range(colors, path),
        labels=_array(labels, "labels", path),
        up=_UP,
    )
    return replace(raw.to_scene(path), name=openscene_name(path))


def openscene_name(path: Path) -> str:
    """Returns the name of the scene in a file: `scene0000_00_vh_clean_2.pth` and `scene0000_00.pth` → scene0000_00."""
    return path.name.removesuffix(".pth").removesuffix(SUFFIX)


def _parts(content: Any, path: Path) -> tuple[Any, Any, Any]:
    if isinstance(content, tuple | list) and len(content) == 3:
        return content[0], content[1], content[2]
    raise ValueError(f"{path}: holds {_described(content)}, no points; {_FORM}")


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dictionary of {', '.join(map(str, list(content)[:8])) or 'nothing'}"
    if isinstance(content, np.ndarray | Tensor):
        return f"one array of shape {tuple(content.shape)} (superpoint ids, masks or features?)"
    if isinstance(content, tuple | list):
        return f"a {type(content).__name__} of {len(content)}"
    return f"one {type(content).__name__}"


def _array(part: Any, what: str, path: Path) -> Array:
    if not isinstance(part, np.ndarray | Tensor):
        raise ValueError(f"{path}: the {what} are {_described(part)}, no array of numbers; {_FORM}")
    return numbers_of(part, f"the {what}", path)


def _unit_range(colors: Any, path: Path) -> Array | None:
    """Returns RGB in [0, 1], or None for the number 0."""
    if np.ndim(colors) == 0:
        if colors != 0:
            raise ValueError(f"{path}: the place of the colours holds {colors!r}; {_FORM}")
        return None
    values = _array(colors, "colours", path).astype(np.float64)
    known = values[np.isfinite(values)]
    if len(known) and not -1 - _OVERSHOOT <= known.min() <= known.max() <= 1 + _OVERSHOOT:
        raise ValueError(
            f"{path}: colours must lie in [-1, 1] (rgb / 127.5 - 1), got {known.min():g} to {known.max():g}"
        )
    return (values.clip(-1, 1) + 1) / 2
