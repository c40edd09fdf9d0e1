"""The ScanNet benchmark's text: one line per mask with path, class and score; one file of 0 and 1 per mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files.matrix import checked_scores


def is_benchmark_text(path: Path) -> bool:
    """Says whether the first line of a text is a path, a class and a score; a text without lines is one of no masks."""
    with path.open("rb") as file:
        line = file.readline(4096)
    return line.strip() == b"" or len(line.split()) == 3


def masks_of_benchmark_text(path: Path, point_count: int) -> PointMasks:
    """Returns the masks that a text lists, in its order, with their scores; classes are not read.

    Raises:
        FileNotFoundError: a mask's file is missing.
        ValueError: a line of another form, a path that leaves the folder, a mask of another length or of other values.
    """
    names, scores = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3:
            raise ValueError(f"{path}, line {number}: expected 'path class score', got {line[:60]!r}")
        names.append(words[0])
        try:
            scores.append(float(words[2]))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: the score is {words[2]!r}, not a number") from error
    checked = checked_scores(path, scores, "score")
    points = [_points_of_mask(_inside(path, name), point_count) for name in names]
    return PointMasks.from_lists(points, point_count, checked)


def _inside(path: Path, name: str) -> Path:
    if not name.isprintable():
        raise ValueError(f"{path}: {name!r} is no path; is the list damaged?")
    folder = path.parent.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"{path}: {name} leaves the folder of the list; put the masks into a folder beside it")
    if not file.is_file():
        raise FileNotFoundError(f"{path} names {name}, but {file} does not exist; copy the masks along with the list")
    return file


def _points_of_mask(path: Path, point_count: int) -> Tensor:
    lines = path.read_bytes().split()
    if len(lines) != point_count:
        raise ValueError(
            f"{path}: {len(lines)} lines for {point_count} points of the scene's file; is it another scene's?"
        )
    try:
        values = np.array(lines, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a mask holds 0 or 1 on each line ({error})") from error
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise ValueError(f"{path}, line {wrong[0] + 1}: masks hold 0 and 1, this one {values[wrong[0]]:g}")
    return torch.from_numpy(np.flatnonzero(values))
