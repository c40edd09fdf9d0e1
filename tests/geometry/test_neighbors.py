"""neighbors: against brute force, and the corners of the contract."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.geometry.neighbors import knn


def test_matches_brute_force() -> None:
    torch.manual_seed(0)
    points, queries = torch.rand(200, 3), torch.rand(50, 3)
    ids, distances = knn(points, 5, queries)
    expected = torch.cdist(queries.double(), points.double()).topk(5, largest=False)
    assert torch.equal(ids, expected.indices)
    torch.testing.assert_close(distances, expected.values.float())
    assert ids.dtype == torch.int64
    assert distances.dtype == torch.float32


def test_a_point_finds_itself_first() -> None:
    torch.manual_seed(0)
    ids, distances = knn(torch.rand(30, 3), 3)
    assert torch.equal(ids[:, 0], torch.arange(30))
    assert not distances[:, 0].any()


def test_a_small_cloud_is_answered_whole() -> None:
    ids, distances = knn(torch.tensor([[0.0, 0, 0], [3.0, 4.0, 0]]), 10)
    assert ids.tolist() == [[0, 1], [1, 0]]
    assert distances.tolist() == [[0.0, 5.0], [0.0, 5.0]]


def test_one_neighbor_keeps_its_column() -> None:
    ids, distances = knn(torch.eye(3), 1)
    assert ids.shape == distances.shape == (3, 1)


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (torch.zeros(4, 3), 0, "k >= 1"),
        (torch.zeros(0, 3), 1, "0 points"),
        (torch.zeros(4, 2), 1, r"points must be \(N, 3\), got \(4, 2\)"),
    ],
)
def test_rejects_what_has_no_neighbors(points: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn(points, k)
