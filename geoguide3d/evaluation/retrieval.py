"""Are things of one category close together? Average precision of finding them by the cosine of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.ops import segment_mean

LEAST_POINTS = 30  # an instance of which less was seen is left out


@dataclass(frozen=True)
class Instances:
    """Q instances: what is asked for, and what is searched.

    Args:
        vectors: (Q, G), one per instance.
        categories: (Q,) int64.
        scenes: (Q,) int64, the number of the scene that each stands in.
    """

    vectors: Tensor
    categories: Tensor
    scenes: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(value.shape) for value in (self.vectors, self.categories, self.scenes)]
        if self.vectors.ndim != 2 or shapes[1:] != [(len(self.vectors),)] * 2:
            raise ValueError(f"vectors must be (Q, G), categories and scenes (Q,), got {shapes}")

    @staticmethod
    def joined(parts: Sequence[Instances]) -> Instances:
        """Returns the instances of all parts, the scenes numbered by part."""
        scenes = [part.scenes.new_full((len(part.scenes),), number) for number, part in enumerate(parts)]
        return Instances(
            torch.cat([part.vectors for part in parts]),
            torch.cat([part.categories for part in parts]),
            torch.cat(scenes),
        )

    def standardized(self) -> Instances:
        """Returns the same with every channel of mean 0 and, where it varies, of standard deviation 1."""
        deviation, mean = torch.std_mean(self.vectors, dim=0, correction=0)
        scale = torch.where(deviation > 1e-6, deviation, 1.0)
        return Instances((self.vectors - mean) / scale, self.categories, self.scenes)


@dataclass(frozen=True)
class RetrievalScores:
    """Means in [0, 1] over the queries that have an answer.

    Args:
        mean_average_precision: over queries.
        category_average_precision: over categories, of the means over their queries.
        chance: mean_average_precision of a random order, by formula.
        queries: how many.
    """

    mean_average_precision: float
    category_average_precision: float
    chance: float
    queries: int


def instance_vectors(features: Tensor, labels: Tensor, instances: Tensor, left_out: Sequence[int] = ()) -> Instances:
    """Returns the mean feature of each instance of a scene that has at least 30 points.

    Args:
        features: (N, G).
        labels: (N,) int64; all points of an instance have one.
        instances: (N,) int64, −1 = none.
        left_out: labels whose instances are left out.
    """
    ids, rows = torch.unique(instances, return_inverse=True)
    counts = torch.bincount(rows, minlength=len(ids))
    categories = labels.new_empty(len(ids)).scatter_(0, rows, labels)
    kept = (ids >= 0) & (counts >= LEAST_POINTS) & ~torch.isin(categories, labels.new_tensor(list(left_out)))
    vectors = segment_mean(features, rows, len(ids))[kept]
    return Instances(vectors, categories[kept], torch.zeros_like(categories[kept]))


def retrieval_scores(instances: Instances) -> RetrievalScores:
    """Returns how well the cosine finds things of a query's category among all instances of the other scenes.

    A query without any thing of its category in another scene is not counted.

    Raises:
        ValueError: no query has an answer.
    """
    vectors = normalize(instances.vectors.to(torch.float64), dim=1)
    precisions, chances, categories = [], [], []
    for vector, category, scene in zip(vectors, instances.categories, instances.scenes, strict=True):
        elsewhere = instances.scenes != scene
        relevant = instances.categories[elsewhere] == category
        if bool(relevant.any()):
            order = (vectors[elsewhere] @ vector).argsort(descending=True, stable=True)
            precisions.append(average_precision(relevant[order]))
            chances.append(chance_precision(int(relevant.sum()), len(relevant)))
            categories.append(int(category))
    if not precisions:
        raise ValueError(f"none of {len(vectors)} instances has another of its category in another scene")
    found, of_category = torch.tensor(precisions, dtype=torch.float64), torch.tensor(categories)
    per_category = [found[of_category == category].mean() for category in set(categories)]
    return RetrievalScores(
        float(found.mean()),
        float(torch.stack(per_category).mean()),
        sum(chances) / len(chances),
        len(precisions),
    )


def average_precision(relevant: Tensor) -> float:
    """Returns the mean, over the relevant items of a ranked list ((n,) bool), of the precision down to each."""
    ranks = relevant.nonzero().squeeze(1) + 1
    return float((torch.arange(1, len(ranks) + 1, device=ranks.device) / ranks).mean())


def chance_precision(relevant: int, total: int) -> float:
    """Returns the expected average precision of a list in random order.

    An item at rank k is one of the R − 1 others' neighbours: precision (1 + (k − 1)(R − 1)/(n − 1))/k, k uniform.
    """
    if total == 1:
        return 1.0
    harmonic = float((1 / torch.arange(1, total + 1, dtype=torch.float64)).sum())
    return (harmonic + (relevant - 1) / (total - 1) * (total - harmonic)) / total
