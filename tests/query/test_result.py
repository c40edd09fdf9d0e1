"""From cosines to masks and labels."""

from __future__ import annotations

import torch

from geoguide3d.query.result import answer, rival_scores

SCORES = torch.tensor([[0.9, 0.5], [0.3, 0.8], [0.2, 0.1], [0.7, 0.75]])


def test_masks_reach_the_threshold_and_exceed_their_rivals() -> None:
    rivals = torch.tensor([[0.9, -1.0], [-1.0, 0.7], [-1.0, -1.0], [0.6, 0.6]])
    result = answer(["a", "b"], SCORES, rivals, threshold=0.5)
    assert result.masks.tolist() == [[False, True], [False, True], [False, False], [True, True]]
    assert result.labels.tolist() == [1, 1, -1, 1]
    assert result.prompts == ("a", "b")
    assert torch.equal(result.scores, SCORES)


def test_without_rule_the_best_prompt_takes_every_point() -> None:
    result = answer(["a", "b"], SCORES, torch.full((4, 2), -torch.inf), -torch.inf)
    assert bool(result.masks.all())
    assert result.labels.tolist() == [0, 1, 0, 1]


def test_a_prompt_competes_with_the_best_negative_of_another_meaning() -> None:
    scores = torch.tensor([[0.2, 0.5], [0.4, 0.1]])
    opposed = torch.tensor([[True, True, False], [True, False, False]])
    inf = torch.inf
    assert torch.equal(rival_scores(scores, opposed), torch.tensor([[0.5, 0.2, -inf], [0.4, 0.4, -inf]]))
