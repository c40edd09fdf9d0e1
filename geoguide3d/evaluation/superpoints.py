"""How well superpoints keep to true regions: purity, boundary recall, number and size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RINGS = 1


@dataclass(frozen=True)
class SuperpointScores:
    """Scores of one scene's superpoints against one labelling of its points, shares in [0, 1].

    Args:
        purity: share of the judged points that have the commonest label of their superpoint. It is what the best
            choice of one label per superpoint gets right: no segmentation made of these pieces is more accurate.
        label_purity: the same share within each label, its mean over the labels, so that small things count as much
            as walls.
        boundary_recall: as `boundary_recall` says.
        count: number of superpoints, those without judged points included.
        mean_size: points per superpoint.
    """

    purity: float
    label_purity: float
    boundary_recall: float
    count: int
    mean_size: float


def superpoint_scores(
    superpoints: Tensor, labels: Tensor, edges: Tensor, ignored: int = -1, rings: int = RINGS
) -> SuperpointScores:
    """Returns all scores of one scene.

    Args:
        superpoints: (N,) int64, contiguous from 0.
        labels: (N,) int64, classes or instances.
        edges: (E, 2) int64 rows of points: which ones touch, such as `geometry.superpoints.neighbor_edges`.
        ignored: label of the points that are not judged: −1 for instances, 255 for classes.
        rings: tolerance of the boundary, see `boundary_recall`.

    Raises:
        ValueError: lengths or shapes that do not fit, negative superpoints or rings, no point to judge.
    """
    majority = majority_labels(superpoints, labels, ignored)
    judged = labels != ignored
    right = majority[superpoints[judged]] == labels[judged]
    _, rows, sizes = torch.unique(labels[judged], return_inverse=True, return_counts=True)
    hits = torch.bincount(rows[right], minlength=len(sizes))
    return SuperpointScores(
        purity=int(right.sum()) / len(right),
        label_purity=float((hits.to(torch.float64) / sizes).mean()),
        boundary_recall=boundary_recall(superpoints, labels, edges, ignored, rings),
        count=len(majority),
        mean_size=len(superpoints) / len(majority),
    )


def majority_labels(superpoints: Tensor, labels: Tensor, ignored: int = -1) -> Tensor:
    """Returns (Q,) int64 the commonest label of each superpoint, the smallest of equally common ones.

    Points of the ignored label have no say; superpoints of nothing else get `ignored`.

    Args:
        superpoints, labels, ignored: as in `superpoint_scores`.

    Raises:
        ValueError: lengths that do not fit, negative superpoints, no point to judge.
    """
    _check(superpoints, labels)
    judged = labels != ignored
    if not bool(judged.any()):
        raise ValueError(f"all {len(labels)} points have the ignored label {ignored}, so nothing can be judged")
    names, rows = torch.unique(labels[judged], return_inverse=True)
    pairs, sizes = torch.unique(superpoints[judged] * len(names) + rows, return_counts=True)
    # By superpoint, inside it by falling size, and by rising label where sizes are equal, as pairs already are.
    order = sizes.argsort(descending=True, stable=True)
    order = order[(pairs[order] // len(names)).argsort(stable=True)]
    pairs = pairs[order]
    owners = pairs // len(names)
    first = torch.ones_like(owners, dtype=torch.bool)
    first[1:] = owners[1:] != owners[:-1]
    majority = labels.new_full((int(superpoints.max()) + 1,), ignored)
    majority[owners[first]] = names[pairs[first] % len(names)]
    return majority


def boundary_recall(superpoints: Tensor, labels: Tensor, edges: Tensor, ignored: int = -1, rings: int = RINGS) -> float:
    """Returns the share of the true boundary that lies on a superpoint boundary, within `rings` steps of the graph.

    The true boundary is the edges whose ends have two different labels, neither of them ignored; the superpoint
    boundary is the edges whose ends lie in two superpoints. With 0 rings an edge of the true boundary is found when it
    is one of the superpoint boundary itself. With r ≥ 1 rings it is also found when one of its ends is at most r − 1
    steps away from an end of an edge of the superpoint boundary; so with 1 ring, when it shares a point with one. Each
    row of `edges` counts once, so a pair that is listed in both directions counts twice. NaN where there is no true
    boundary.

    Args:
        superpoints, labels, edges, ignored: as in `superpoint_scores`; steps go along edges in both directions.

    Raises:
        ValueError: lengths or shapes that do not fit, or negative superpoints or rings.
    """
    _check(superpoints, labels)
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype != torch.int64:
        raise ValueError(f"edges must be (E, 2) int64, got {tuple(edges.shape)} {edges.dtype}")
    if rings < 0:
        raise ValueError(f"rings must not be negative, got {rings}")
    judged = labels != ignored
    a, b = edges.unbind(1)
    true = (labels[a] != labels[b]) & judged[a] & judged[b]
    crossing = superpoints[a] != superpoints[b]
    found = crossing
    if rings > 0:
        near = torch.zeros_like(judged)
        near[edges[crossing].reshape(-1)] = True
        for _ in range(rings - 1):
            near[edges[near[a] | near[b]].reshape(-1)] = True
        found = crossing | near[a] | near[b]
    return int(found[true].sum()) / int(true.sum()) if bool(true.any()) else float("nan")


def _check(superpoints: Tensor, labels: Tensor) -> None:
    if superpoints.ndim != 1 or superpoints.shape != labels.shape:
        raise ValueError(
            f"superpoints and labels must be (N,) alike, got {tuple(superpoints.shape)} and {tuple(labels.shape)}"
        )
    if superpoints.dtype != torch.int64 or labels.dtype != torch.int64:
        raise ValueError(f"superpoints and labels must be int64, got {superpoints.dtype} and {labels.dtype}")
    if len(superpoints) and int(superpoints.min()) < 0:
        raise ValueError(f"superpoints must be 0 or more, got {int(superpoints.min())}")
