"""Open3DIS' and ISBNet's dict of masks, as a matrix or as run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files.matrix import checked_scores, masks_of_matrix
from geoguide3d.store.torch_files import numbers_of


def masks_of_dict(path: Path, content: Mapping[str, Any], point_count: int) -> PointMasks:
    """Returns the masks of a dict of `ins`, (K, N) or a list of run lengths, and `conf` (K,).

    Run lengths are dicts of `length`, N, and `counts`, "start count start count …" as a string or a list; starts count
    from 1 (ISBNet, `isbnet/util/rle.py`).

    Raises:
        ValueError: a part that is missing, of another length, or not as said above.
    """
    if "conf" not in content:
        raise ValueError(f"{path}: no 'conf', the score of each mask, only {', '.join(sorted(map(str, content)))}")
    scores, masks = content["conf"], content["ins"]
    if isinstance(scores, Tensor):
        scores = numbers_of(scores, "conf", path)
    scores = checked_scores(path, scores, "conf")
    if isinstance(masks, np.ndarray | Tensor):
        return masks_of_matrix(path, numbers_of(masks, "ins", path), scores, point_count)
    if not isinstance(masks, list):
        raise ValueError(f"{path}: 'ins' must be a matrix or a list of run lengths, got a {type(masks).__name__}")
    if len(masks) != len(scores):
        raise ValueError(f"{path}: {len(scores)} numbers in 'conf' for {len(masks)} masks; each mask needs one")
    return _from_runs(path, masks, scores, point_count)


def _from_runs(path: Path, masks: Sequence[Any], scores: Tensor, point_count: int) -> PointMasks:
    points = [_points_of_runs(f"{path}, mask {number}", mask, point_count) for number, mask in enumerate(masks)]
    return PointMasks.from_lists(points, point_count, scores)


def _points_of_runs(where: str, mask: Any, point_count: int) -> Tensor:
    if not isinstance(mask, Mapping) or not {"length", "counts"} <= set(mask):
        raise ValueError(f"{where}: run lengths are a dict of 'length' and 'counts', got {_shown(mask)}")
    if mask["length"] != point_count:
        raise ValueError(
            f"{where}: it is of {mask['length']} points, but the scene's file has {point_count}; is it another scene's?"
        )
    words = mask["counts"].split() if isinstance(mask["counts"], str) else mask["counts"]
    try:
        numbers = np.array([int(word) if isinstance(word, str) else index(word) for word in words], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: counts must be whole numbers ({error})") from error
    if len(numbers) % 2:
        raise ValueError(f"{where}: counts must be pairs of start and count, got {len(numbers)} numbers")
    starts, counts = numbers[0::2] - 1, numbers[1::2]
    ends = starts + counts
    if (counts < 0).any() or (starts < 0).any() or (ends > point_count).any() or (starts[1:] < ends[:-1]).any():
        raise ValueError(
            f"{where}: runs must rise without overlap inside 1 … {point_count} (starts count from 1), "
            f"got {_shown(mask['counts'])}"
        )
    marks = np.zeros(point_count + 1, dtype=np.int8)
    np.add.at(marks, starts, 1)
    np.subtract.at(marks, ends, 1)
    return torch.from_numpy(np.flatnonzero(marks[:-1].cumsum(dtype=np.int8)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
