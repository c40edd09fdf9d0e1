"""retrieval: known orders, chance by formula against permutations, and who is compared with whom."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from geoguide3d.evaluation.retrieval import (
    Instances,
    average_precision,
    chance_precision,
    instance_vectors,
    retrieval_scores,
)


@pytest.mark.parametrize(
    ("relevant", "expected"),
    [([1, 1, 0, 0], 1.0), ([0, 0, 1], 1 / 3), ([1, 0, 1, 0], (1 + 2 / 3) / 2), ([0, 1, 0, 1], (1 / 2 + 2 / 4) / 2)],
)
def test_average_precision_of_known_orders(relevant: list[int], expected: float) -> None:
    assert average_precision(torch.tensor(relevant, dtype=torch.bool)) == pytest.approx(expected)


@pytest.mark.parametrize(("relevant", "total"), [(1, 1), (1, 4), (2, 5), (5, 5)])
def test_chance_is_the_mean_over_all_orders(relevant: int, total: int) -> None:
    items = [True] * relevant + [False] * (total - relevant)
    orders = [average_precision(torch.tensor(order)) for order in permutations(items)]
    assert chance_precision(relevant, total) == pytest.approx(sum(orders) / len(orders))


def test_only_other_scenes_are_searched() -> None:
    """In its own scene each thing has a twin of another category; elsewhere categories lie on axes of their own."""
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.1], [0.1, 3.0]])
    instances = Instances(vectors, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]))
    scores = retrieval_scores(instances)
    # Queries 0 and 2 find theirs first (query 2 by the order of equals), 1 and 3 second and, of equals, second.
    assert scores.queries == 4
    assert scores.mean_average_precision == pytest.approx((1 + 0.5 + 1 + 0.5) / 4)
    assert scores.category_average_precision == pytest.approx((1 + 0.5) / 2)
    assert scores.chance == pytest.approx(0.75)


def test_length_does_not_count_and_standardising_undoes_units() -> None:
    generator = torch.Generator().manual_seed(0)
    categories, scenes = torch.arange(60) % 5, torch.arange(60) % 3
    vectors = torch.eye(5)[categories] + 0.3 * torch.randn(60, 5, generator=generator)
    plain = Instances(vectors, categories, scenes)
    longer = Instances(vectors * torch.linspace(0.1, 9, 60).unsqueeze(1), categories, scenes)
    assert retrieval_scores(plain) == retrieval_scores(longer)
    assert retrieval_scores(plain).mean_average_precision > 0.8
    assert retrieval_scores(plain).chance < 0.4
    units = Instances(vectors * torch.tensor([1.0, 1.0, 1.0, 1.0, 1e3]) + 50, categories, scenes)
    scores = retrieval_scores(units.standardized()).mean_average_precision
    assert scores == pytest.approx(retrieval_scores(plain.standardized()).mean_average_precision, abs=1e-4)
    assert scores > retrieval_scores(units).mean_average_precision


def test_queries_without_an_answer_do_not_count() -> None:
    instances = Instances(torch.eye(3), torch.tensor([0, 0, 7]), torch.tensor([0, 1, 1]))
    assert retrieval_scores(instances).queries == 2
    with pytest.raises(ValueError, match="none of 2 instances has another"):
        retrieval_scores(Instances(torch.eye(2), torch.tensor([3, 3]), torch.tensor([0, 0])))


def test_vectors_are_means_of_instances_large_enough() -> None:
    ids = torch.tensor([-1] * 40 + [2] * 40 + [5] * 29 + [0] * 30 + [9] * 50)
    labels = ids.clone().clamp(min=0) + 10
    features = torch.stack([ids.float(), torch.arange(len(ids)) % 2.0], dim=1)
    found = instance_vectors(features, labels, ids, left_out=(19,))
    assert found.categories.tolist() == [10, 12]
    assert found.vectors.tolist() == [[0.0, 0.5], [2.0, 0.5]]


def test_joined_scenes_are_numbered() -> None:
    part = Instances(torch.ones(2, 3), torch.tensor([1, 2]), torch.tensor([0, 0]))
    assert Instances.joined([part, part]).scenes.tolist() == [0, 0, 1, 1]


def test_rejects_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"vectors must be \(Q, G\)"):
        Instances(torch.ones(2, 3), torch.tensor([1]), torch.tensor([0, 0]))
