"""Class-agnostic average precision and recall of masks against instances, as the ScanNet benchmark counts them.

The rules are those of ScanNet's `BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py` (@0a881f5) with one
class for everything, as SAI3D's `evaluation/evaluate_class_agnostic_instance.py` (@6f571a3) has it:

* A mask finds an instance at a threshold t when their IoU is above t, not equal to it.
* Masks and instances of fewer than 100 points are not counted. A mask that finds such a small instance is no error.
* Of several masks that find an instance the surest is right, the others are errors.
* A mask that finds none is an error unless more than a share t of its points is void (of no instance) or belongs to
  small instances: who segments a wall that nobody labelled is not to blame.
* Precision and recall are taken over all scenes at once, at every score that occurs, and at recall 0 precision is 1.
  AP is the sum over these points of the precision times half the distance between the recalls on either side.
* AP is the mean over t = 0.50, 0.55 … 0.90. The benchmark's text says 0.50:0.95:0.05; the end of its `np.arange` is
  left out, and all published numbers are of these nine thresholds.

One difference: the script takes masks in the order of the file, here they come in descending order of score. Above
t = 0.5 this changes nothing, because then no mask finds two instances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks

LEAST_POINTS = 100
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))


@dataclass(frozen=True)
class InstanceOverlaps:
    """What the scores need to know of one scene: P masks in descending order of score, Q instances, E pairs that meet.

    Args:
        scores: (P,) float32.
        sizes: (P,) int64 points.
        void: (P,) int64 points in no instance.
        instance_sizes: (Q,) int64 points.
        mask, instance, shared: (E,) int64: the pairs, by mask, and how many points they share, at least 1.
    """

    scores: Tensor
    sizes: Tensor
    void: Tensor
    instance_sizes: Tensor
    mask: Tensor
    instance: Tensor
    shared: Tensor

    @property
    def iou(self) -> Tensor:
        """(E,) float64 intersection over union of every pair."""
        union = self.sizes[self.mask] + self.instance_sizes[self.instance] - self.shared
        return self.shared.to(torch.float64) / union

    @property
    def counted(self) -> Tensor:
        """(Q,) bool: the instances that are asked for."""
        return self.instance_sizes >= LEAST_POINTS


@dataclass(frozen=True)
class InstanceScores:
    """Scores in [0, 1].

    Args:
        average_precision: mean over IoU 0.50 to 0.90 in steps of 0.05.
        average_precision_50, average_precision_25: at IoU 0.50 and 0.25.
        recall_50: share of the instances that some mask finds at IoU 0.50, whatever its score.
        instances: how many were asked for.
        masks: how many were counted.
    """

    average_precision: float
    average_precision_50: float
    average_precision_25: float
    recall_50: float
    instances: int
    masks: int


def instance_overlaps(masks: PointMasks, instances: Tensor) -> InstanceOverlaps:
    """Returns how the masks of one scene and its instances meet; masks of fewer than 100 points are left out.

    Args:
        instances: (N,) int64, -1 = none; the caller sets what is no thing (walls, floors) to -1.

    Raises:
        ValueError: instances that are not (N,) int64 of the masks' N.
    """
    if instances.shape != (masks.point_count,) or instances.dtype != torch.int64:
        raise ValueError(
            f"instances must be ({masks.point_count},) int64, as many as the masks have points, "
            f"got {tuple(instances.shape)} {instances.dtype}"
        )
    large = (masks.sizes >= LEAST_POINTS).nonzero().squeeze(1)
    order = masks.known_scores[large].argsort(descending=True, stable=True)
    masks = masks.select(large[order])
    names, sizes = torch.unique(instances[instances >= 0], return_counts=True)
    of_entry = instances[masks.point_ids]
    inside = of_entry >= 0
    void = torch.bincount(masks.owners[~inside], minlength=len(masks))
    numbers = torch.searchsorted(names, of_entry[inside])
    pairs, shared = torch.unique(masks.owners[inside] * max(len(names), 1) + numbers, return_counts=True)
    mask, instance = pairs // max(len(names), 1), pairs % max(len(names), 1)
    return InstanceOverlaps(masks.known_scores, masks.sizes, void, sizes, mask, instance, shared)


def instance_scores(scenes: Sequence[InstanceOverlaps]) -> InstanceScores:
    """Returns the scores over all scenes together.

    Raises:
        ValueError: no scene has an instance of at least 100 points.
    """
    total = sum(int(scene.counted.sum()) for scene in scenes)
    if total == 0:
        raise ValueError(f"none of {len(scenes)} scenes has an instance of at least {LEAST_POINTS} points to find")
    precisions = {threshold: average_precision_at(scenes, threshold) for threshold in (0.25, *THRESHOLDS)}
    found = sum(_found(scene, 0.5) for scene in scenes)
    return InstanceScores(
        average_precision=math.fsum(precisions[threshold] for threshold in THRESHOLDS) / len(THRESHOLDS),
        average_precision_50=precisions[0.5],
        average_precision_25=precisions[0.25],
        recall_50=found / total,
        instances=total,
        masks=sum(len(scene.scores) for scene in scenes),
    )


def average_precision_at(scenes: Sequence[InstanceOverlaps], threshold: float) -> float:
    """Returns the average precision over all scenes at one IoU threshold; 0 where there are no masks."""
    right: list[float] = []
    wrong: list[float] = []
    for scene in scenes:
        scene_right, scene_wrong = _judge(scene, threshold)
        right += scene_right
        wrong += scene_wrong
    total = sum(int(scene.counted.sum()) for scene in scenes)
    scores = torch.tensor([*right, *wrong], dtype=torch.float64)
    is_right = torch.arange(len(scores)) < len(right)
    levels, level = torch.unique(scores, return_inverse=True)  # rising
    # How many masks, and how many right ones, have at least the score of a level.
    found = torch.bincount(level[is_right], minlength=len(levels)).flip(0).cumsum(0).flip(0)
    given = torch.bincount(level, minlength=len(levels)).flip(0).cumsum(0).flip(0)
    precision = torch.cat([found / given, torch.ones(1)]).to(torch.float64)
    recall = torch.cat([found / total, torch.zeros(1)]).to(torch.float64)
    beside = torch.cat([recall[:1], recall, recall.new_zeros(1)])
    return float((precision * (beside[:-2] - beside[2:]) / 2).sum())


def _judge(scene: InstanceOverlaps, threshold: float) -> tuple[list[float], list[float]]:
    """Returns the scores of the masks that are right and of those that are wrong."""
    finds = scene.iou > threshold
    scores = scene.scores.tolist()
    right, wrong = [], []
    taken: set[int] = set()  # masks that are some instance's first; none of them finds another
    order = torch.argsort(scene.instance, stable=True)
    meets = order[(finds & scene.counted[scene.instance])[order]]
    rivals: dict[int, list[int]] = {}
    for instance, mask in zip(scene.instance[meets].tolist(), scene.mask[meets].tolist(), strict=True):
        rivals.setdefault(instance, []).append(mask)
    for masks in rivals.values():
        free = [mask for mask in masks if mask not in taken]
        if free:
            taken.add(free[0])
            right.append(scores[free[0]])
            wrong += [scores[mask] for mask in free[1:]]
    lost = torch.ones(len(scores), dtype=torch.bool)
    lost[scene.mask[finds]] = False
    small = scene.shared * ~scene.counted[scene.instance]
    excused = scene.void.index_add(0, scene.mask, small).to(torch.float64) / scene.sizes
    wrong += scene.scores[lost & (excused <= threshold)].tolist()
    return right, wrong


def _found(scene: InstanceOverlaps, threshold: float) -> int:
    found = torch.unique(scene.instance[scene.iou > threshold])
    return int(scene.counted[found].sum())
