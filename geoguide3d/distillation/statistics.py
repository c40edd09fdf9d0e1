"""Numbers over all lessons: how features are distributed, where the teacher's vectors point on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.losses.centring import centred

_ROWS_AT_ONCE = 16_384
_MOST_POINTS = 2_000_000  # of all lessons together; more tell no more, and would all be read from disk
_CHECKED_POINTS = 50_000


def feature_statistics(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation (G,) float64 of the geometric features over points of all lessons."""
    count = 0
    mean = torch.zeros(lessons[0].geometric_channels, dtype=torch.float64)
    squares = torch.zeros_like(mean)
    spacing = _spacing([len(lesson) for lesson in lessons], _MOST_POINTS)
    for lesson in lessons:
        for rows in _pieces(lesson.feature_rows, len(lesson), spacing):
            values = rows.to(torch.float64)
            own = values.mean(dim=0)
            joined = count + len(values)
            # Chan, Golub and LeVeque 1979: one pass, and no difference of large sums.
            squares += (values - own).square().sum(dim=0) + (own - mean).square() * (count * len(values) / joined)
            mean += (own - mean) * (len(values) / joined)
            count = joined
    return mean, (squares / count).sqrt()


def mean_unit_target(lessons: Sequence[Lesson]) -> Tensor:
    """Returns the mean (C,) float64 of the teacher's vectors, each at unit length, over taught points of all lessons.

    Text spaces of CLIP's kind are narrow cones: this is the cone's axis (docs/papers.md).
    """
    total, count = torch.zeros(lessons[0].semantic_channels, dtype=torch.float64), 0
    spacing = _spacing([len(lesson.taught) for lesson in lessons], _MOST_POINTS)
    for lesson in lessons:
        for rows in _pieces(lesson.target_rows, len(lesson.taught), spacing):
            total += normalize(rows.to(torch.float64), dim=1).sum(dim=0)
            count += len(rows)
    return total / count


@torch.no_grad()
def mean_cosine(adapter: Adapter, lessons: Sequence[Lesson]) -> float:
    """Returns the mean cosine of the adapter's vectors with the teacher's, over taught points of all lessons.

    Both are taken as the training compared them: as seen from the adapter's `semantic_mean`.
    """
    spacing = _spacing([len(lesson.taught) for lesson in lessons], _CHECKED_POINTS)
    total, count, device, mean = 0.0, 0, adapter.input_mean.device, adapter.semantic_mean.cpu()
    for lesson in lessons:
        for start in range(0, len(lesson.taught), spacing * _ROWS_AT_ONCE):
            rows = torch.arange(start, min(len(lesson.taught), start + spacing * _ROWS_AT_ONCE), spacing)
            said = adapter(lesson.feature_rows(lesson.taught[rows]).to(device)).cpu()
            wanted = centred(lesson.target_rows(rows), mean)
            cosines = torch.nn.functional.cosine_similarity(centred(said, mean), wanted, dim=1)
            total, count = total + float(cosines.sum(dtype=torch.float64)), count + len(rows)
    return total / count


def _spacing(counts: Sequence[int], most: int) -> int:
    """Returns every how many-th point is looked at."""
    return max(1, sum(counts) // most)


def _pieces(rows: Callable[[slice], Tensor], count: int, spacing: int) -> Iterator[Tensor]:
    for start in range(0, count, spacing * _ROWS_AT_ONCE):
        yield rows(slice(start, min(count, start + spacing * _ROWS_AT_ONCE), spacing))
