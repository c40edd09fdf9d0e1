"""Which points of a scene one step sees."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor

from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.sample import Sample

Unit = Literal["points", "superpoints"]
_LEAST_UNITS = 16  # that a sample is made of: relations need several, and one loss term is a mean over superpoints


def draw(lesson: Lesson, most_points: int, generator: torch.Generator, unit: Unit = "points") -> Sample:
    """Returns a sample of at most most_points points, taught and untaught ones, in the order of the scene.

    A scene of no more points is taken whole.

    Args:
        unit: of a larger scene, "points" are drawn evenly, so that every superpoint and mask is there in part (SAS does
            so: `run/distill_sp.py`). Or "superpoints" in random order until there are most_points, the last one cut at
            random to fit; one that is larger than a sixteenth of most_points counts as several, random parts of about
            that size, so that a floor does not fill a step, and every point is about as likely. Without superpoints
            points are drawn.
    """
    points = _drawn_points(lesson, most_points, generator, unit)
    place = torch.full((len(lesson),), -1)
    place[lesson.taught] = torch.arange(len(lesson.taught))
    rows = place[points]
    taught = rows >= 0
    targets = torch.zeros(len(points), lesson.semantic_channels)
    targets[taught] = lesson.target_rows(rows[taught])
    superpoints = None if lesson.superpoints is None else _counted_anew(lesson.superpoints[points])
    masks = None if lesson.masks is None else lesson.masks.of_points(points)
    places = None if lesson.points is None else lesson.points[points]
    return Sample(lesson.feature_rows(points), targets, taught, superpoints, masks, places)


def moved(sample: Sample, device: torch.device) -> Sample:
    """Returns the sample on a device."""
    if device.type == "cpu":
        return sample
    there = {field.name: getattr(sample, field.name) for field in fields(sample)}
    here: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in there.items()}
    return Sample(**here)


def _drawn_points(lesson: Lesson, most_points: int, generator: torch.Generator, unit: Unit) -> Tensor:
    """Returns (P,) int64 points, ascending."""
    count, superpoints = len(lesson), lesson.superpoints
    if count <= most_points:
        return torch.arange(count)
    if superpoints is None or unit == "points":
        return torch.randperm(count, generator=generator)[:most_points].sort().values
    units = _units(superpoints, max(1, most_points // _LEAST_UNITS), generator)
    sizes = torch.bincount(units)
    order = torch.randperm(len(sizes), generator=generator)
    before = sizes[order].cumsum(0) - sizes[order]  # points in front of each unit
    whole = torch.zeros(len(sizes), dtype=torch.bool)
    whole[order] = before + sizes[order] <= most_points
    taken = whole[units]
    missing = most_points - int(taken.sum())
    if missing:
        last = order[(~whole[order]).nonzero()[0]]
        members = (units == last).nonzero().squeeze(1)
        taken[members[torch.randperm(len(members), generator=generator)[:missing]]] = True
    return taken.nonzero().squeeze(1)


def _units(superpoints: Tensor, most_points: int, generator: torch.Generator) -> Tensor:
    """Returns (N,) int64 ids of superpoints, and of random parts of those of more than most_points points."""
    parts = (torch.bincount(superpoints) + most_points - 1) // most_points
    first = parts.cumsum(0) - parts
    drawn = torch.rand(len(superpoints), generator=generator, dtype=torch.float64) * parts[superpoints]
    return first[superpoints] + drawn.to(torch.int64)


def _counted_anew(ids: Tensor) -> Tensor:
    """Returns ids contiguous from 0, in the order of the old ones."""
    anew: Tensor = torch.unique(ids, return_inverse=True)[1]
    return anew
