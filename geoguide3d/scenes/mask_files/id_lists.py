"""Lists of one id per point, as SAI3D and SAM3D give them: masks that do not overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoguide3d.geometry.masks import PointMasks


def ids_of_text(path: Path) -> NDArray[Any]:
    """Returns (N,) int64, the whole numbers of a text.

    Raises:
        ValueError: something else is in it.
    """
    words = path.read_bytes().split()
    try:
        numbers = np.array(words, dtype=np.float64) if words else np.empty(0)
    except ValueError as error:
        raise ValueError(f"{path}: a list of ids holds one whole number per line ({error})") from error
    return ids_of_array(path, numbers)


def ids_of_array(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) int64 ids; whole numbers may come as floats.

    Raises:
        ValueError: not a list of whole numbers.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ValueError(f"{path}: ids must be a list of whole numbers, got {array.shape} {array.dtype}")
    wrong = np.flatnonzero(~(np.abs(array) < 2**53) | (array % 1 != 0)) if array.dtype.kind == "f" else np.empty(0)
    if len(wrong):
        raise ValueError(f"{path}: point {wrong[0]} has id {array[wrong[0]]}; ids must be whole numbers")
    return array.astype(np.int64)


def masks_of_ids(path: Path, ids: NDArray[Any], point_count: int, none: int) -> PointMasks:
    """Returns one mask per id, in rising order, all but `none`.

    Raises:
        ValueError: not one id per point, or an id below `none`, which its producer never writes.
    """
    if len(ids) != point_count:
        raise ValueError(
            f"{path}: {len(ids)} ids for {point_count} points of the scene's file; is it another scene's, or do its "
            "lines hold paths, class and score (kind='scannet')?"
        )
    if len(ids) and ids.min() < none:
        cure = "then -1 means none: kind='sam3d_labels'" if none == 0 and ids.min() == -1 else "who wrote it?"
        raise ValueError(f"{path}: id {ids.min()} is below {none}, which means none here; {cure}")
    return PointMasks.from_labels(torch.from_numpy(ids), none)
