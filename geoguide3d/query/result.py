"""The answer to prompts, and the rule that makes masks of cosines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NO_PROMPT = -1


@dataclass(frozen=True)
class QueryResult:
    """What each point answers to each prompt.

    Args:
        prompts: the K prompts.
        scores: (N, K) float32 cosines.
        labels: (N,) int64, index of the best prompt whose mask holds the point, -1 where no mask does.
        masks: (N, K) bool, the points that belong to each prompt; a point may belong to several.
    """

    prompts: tuple[str, ...]
    scores: Tensor
    labels: Tensor
    masks: Tensor


def rival_scores(
    scores: Tensor,  # (N, R) cosines with the negatives
    opposed: Tensor,  # (R, K) bool: the negative means something else than the prompt
) -> Tensor:
    """Returns (N, K): the largest score of a negative that is opposed to the prompt, -inf where none is."""
    rivals = scores.new_full((len(scores), opposed.shape[1]), -torch.inf)
    for own, prompts in zip(scores.T, opposed, strict=True):
        rivals[:, prompts] = torch.maximum(rivals[:, prompts], own[:, None])
    return rivals


def answer(
    prompts: Sequence[str],
    scores: Tensor,  # (N, K) cosines with the prompts
    rivals: Tensor,  # (N, K) what each of them has to exceed
    threshold: float,  # what each of them has to reach
) -> QueryResult:
    """Returns the masks scores ≥ threshold and scores > rivals, and per point the best prompt among its masks."""
    masks = (scores >= threshold) & (scores > rivals)
    best = scores.masked_fill(~masks, -torch.inf).argmax(dim=1)
    labels = torch.where(masks.any(dim=1), best, NO_PROMPT)
    return QueryResult(tuple(prompts), scores, labels, masks)
