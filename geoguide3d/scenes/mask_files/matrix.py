"""Matrices of points and masks: which axis is which, what they may hold, and their lists of points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks

_VALUES_PER_CHUNK = 1 << 22  # so that comparing a matrix takes no second one


def masks_of_matrix(path: Path, matrix: NDArray[Any], scores: Tensor | None, point_count: int) -> PointMasks:
    """Returns the masks of a matrix of 0 and 1, whichever way it lies.

    Args:
        path: for messages.
        matrix: (N, K) or (K, N) of any number or bool.
        scores: (K,) float32, or None.
        point_count: N.

    Raises:
        ValueError: no axis or both axes of length N, other values than 0 and 1, or not as many scores as masks.
    """
    matrix = _points_first(path, matrix, point_count)
    mask_count = matrix.shape[1]
    if scores is not None and len(scores) != mask_count:
        raise ValueError(f"{path}: {len(scores)} scores for {mask_count} masks; each mask needs one")
    step = max(1, _VALUES_PER_CHUNK // max(mask_count, 1))
    points, owners = [], []
    for start in range(0, point_count, step):
        chunk = matrix[start : start + step]
        inside = chunk == 1
        wrong = ~inside & (chunk != 0)
        if wrong.any():
            raise ValueError(
                f"{path}: masks hold 0 and 1, this one {chunk[wrong][0]}; save it as `masks > threshold` first"
            )
        rows, columns = np.nonzero(inside)
        points.append(torch.from_numpy(rows + start))
        owners.append(torch.from_numpy(columns))
    return PointMasks.from_pairs(torch.cat(owners), torch.cat(points), mask_count, point_count, scores)


def _points_first(path: Path, matrix: NDArray[Any], point_count: int) -> NDArray[Any]:
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(f"{path}: masks must be a matrix of numbers, got {matrix.shape} {matrix.dtype}")
    axes = [axis for axis in (0, 1) if matrix.shape[axis] == point_count]
    if len(axes) == 2:
        raise ValueError(
            f"{path}: {point_count} masks of {point_count} points could lie either way; leave out a mask or more"
        )
    if not axes:
        raise ValueError(
            f"{path}: masks of shape {tuple(matrix.shape)}, but the scene's file has {point_count} points; "
            "are they of another scene, or of a mesh that was simplified since?"
        )
    return matrix if axes == [0] else matrix.T


def checked_scores(path: Path, scores: Any, name: str) -> Tensor:
    """Returns (K,) float32 scores.

    Raises:
        ValueError: not one finite number per mask.
    """
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 is as lost as inf
            array = np.asarray(scores, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} must be one number per mask ({error})") from error
    if array.ndim != 1:
        raise ValueError(f"{path}: {name} must be one number per mask, got shape {array.shape}")
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise ValueError(
            f"{path}: {name}[{wrong[0]}] is {array[wrong[0]]}; scores must be finite, leave that mask out or score it"
        )
    return torch.from_numpy(array)
