"""The objective composed of plain torch: the other side of benchmarks/distillation.py.

Means are index_add_, the fastest composition found for runs of ids, and its gradient a gather. What points compare with
is gathered to (N, C), the input of the uncertainty head is written out as (N, G + C), masks are M × N logits against a
dense target, Gram matrices take the factored form where that is smaller. Which masks, which of their points and which
superpoints are drawn is the library's own choice, so that both sides answer the same question.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, gelu, normalize

from geoguide3d.distillation.objective import Objective
from geoguide3d.distillation.sample import Sample
from geoguide3d.losses.iirc import drawn_superpoints
from geoguide3d.losses.imr import drawn_masks, visible_parts
from geoguide3d.ops.point_lists import PointLists


def plain_loss(objective: Objective, semantic: Tensor, sample: Sample, generator: torch.Generator) -> Tensor:
    """Returns what `objective` returns as "loss"; superpoints and masks must be there."""
    settings = objective.settings
    terms = []
    if settings.distillation_weight:
        terms.append(settings.distillation_weight * distillation(objective, semantic, sample))
    if settings.imr_weight:
        terms.append(settings.imr_weight * reconstruction(objective, semantic, sample, generator))
    if settings.iirc_weight:
        terms.append(settings.iirc_weight * relations(objective, semantic, sample, generator))
    return torch.stack(terms).sum()


def seen(vectors: Tensor, mean: Tensor | None) -> Tensor:
    unit = normalize(vectors, dim=1)
    return unit if mean is None else unit - mean


def means(values: Tensor, ids: Tensor, count: int) -> Tensor:
    sizes = torch.bincount(ids, minlength=count).clamp(min=1)
    return values.new_zeros(count, values.shape[1]).index_add(0, ids, values) / sizes[:, None]


def listed_means(values: Tensor, lists: PointLists) -> Tensor:
    owners = torch.arange(len(lists)).repeat_interleave(lists.offsets.diff())
    return means(values[lists.point_ids], owners, len(lists))


def distillation(objective: Objective, semantic: Tensor, sample: Sample) -> Tensor:
    mean = objective.semantic_mean
    assert sample.superpoints is not None
    count = int(sample.superpoints.max()) + 1
    rows = sample.taught.nonzero().squeeze(1)
    ids, targets, outputs = sample.superpoints[rows], sample.targets[rows], semantic[rows]
    weights = point_weights(objective, sample, rows, count)
    mass = weights.new_zeros(count).index_add(0, ids, weights) + 1e-6
    pooled = targets.new_zeros(count, targets.shape[1]).index_add(0, ids, targets * weights[:, None]) / mass[:, None]
    pooled = seen(pooled, mean)
    point = 1 - cosine_similarity(seen(outputs, mean), pooled[ids], dim=1).mean()
    held = torch.bincount(ids, minlength=count) > 0
    return point + 1 - cosine_similarity(seen(means(outputs, ids, count), mean), pooled, dim=1)[held].mean()


def point_weights(objective: Objective, sample: Sample, rows: Tensor, count: int) -> Tensor:
    settings, targets = objective.settings.usd, sample.targets[rows]
    assert sample.superpoints is not None
    ids = sample.superpoints[rows]
    common = means(targets, ids, count)
    if settings.weight == "robust":
        mean = objective.semantic_mean
        cosines = cosine_similarity(seen(targets, mean), seen(common, mean)[ids], dim=1)
        return torch.exp(settings.sharpness * (cosines - 1))
    head = objective.uncertainty
    assert settings.weight == "sigmoid" and head is not None
    geometry = means(sample.geometric, sample.superpoints, count)[ids] - sample.geometric[rows]
    differences = torch.cat([geometry, common[ids] - targets], dim=1)
    return torch.sigmoid(head.score(gelu(head.expand(differences))).squeeze(1))


def reconstruction(objective: Objective, semantic: Tensor, sample: Sample, generator: torch.Generator) -> Tensor:
    settings = objective.settings.imr
    assert sample.masks is not None and objective.mask_head is not None
    kept = sample.masks.select(drawn_masks(sample.masks.sizes, settings, generator))
    masks = PointLists(kept.offsets, kept.point_ids)
    visible = visible_parts(masks, settings, generator, sample.superpoints, sample.points)
    described = objective.mask_head(listed_means(semantic, visible))
    logits = settings.logit_scale * (normalize(described, dim=1) @ normalize(semantic, dim=1).T)
    target = kept.to_dense().to(logits.dtype)
    if not settings.balanced:
        return binary_cross_entropy_with_logits(logits, target)
    held = target.sum(dim=1, keepdim=True)
    total = target.shape[1]
    weights = torch.where(target > 0, total / (2 * held), total / (2 * (total - held)))
    return binary_cross_entropy_with_logits(logits, target, weights)


def relations(objective: Objective, semantic: Tensor, sample: Sample, generator: torch.Generator) -> Tensor:
    settings = objective.settings.iirc
    assert sample.masks is not None and sample.superpoints is not None
    centre = sample.geometric.mean(dim=0) if settings.centre_geometry else 0.0
    mean = objective.semantic_mean if settings.centre_semantic else None
    count = int(sample.superpoints.max()) + 1
    masks = PointLists(sample.masks.offsets, sample.masks.point_ids)
    total = gram_difference(listed_means(sample.geometric, masks) - centre, seen(listed_means(semantic, masks), mean))
    drawn = drawn_superpoints(count, settings, generator)
    geometric = means(sample.geometric, sample.superpoints, count)[drawn]
    return total + gram_difference(geometric - centre, seen(means(semantic, sample.superpoints, count)[drawn], mean))


def gram_difference(geometric: Tensor, semantic: Tensor) -> Tensor:
    g, s = normalize(geometric, dim=1), normalize(semantic, dim=1)
    if len(g) <= g.shape[1] + s.shape[1]:
        return torch.nn.functional.mse_loss(g @ g.T, s @ s.T)
    squares = (g.T @ g).square().sum() - 2 * (g.T @ s).square().sum() + (s.T @ s).square().sum()
    return squares / len(g) ** 2
