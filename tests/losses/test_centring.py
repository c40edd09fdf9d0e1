"""Centred directions, their sums per superpoint, and what the sums must agree with: rows one at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.losses.centring import centred, directions
from geoguide3d.losses.cosine import mean_pairwise_cosine
from geoguide3d.losses.pooling import pooled_means
from geoguide3d.ops import direction_dot, direction_sums
from geoguide3d.ops.direction_sums import NEAREST
from geoguide3d.ops.point_lists import PointLists


def data(rows: int = 40, channels: int = 6, segments: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors, which of them count, their segments, and a mean."""
    seed = torch.Generator().manual_seed(rows)
    vectors = torch.randn(rows, channels, dtype=torch.float64, generator=seed)
    counts = torch.rand(rows, generator=seed) < 0.7
    mean = 0.8 * normalize(torch.randn(channels, dtype=torch.float64, generator=seed), dim=0)
    return vectors, counts, torch.randint(0, segments, (rows,), generator=seed), mean


def one_by_one(vectors: Tensor, counts: Tensor, index: Tensor, segments: int, mean: Tensor | None) -> Tensor:
    sums = vectors.new_zeros(segments, vectors.shape[1])
    for vector, counted, segment in zip(vectors, counts, index, strict=True):
        if counted:
            seen = vector / vector.norm() - (0 if mean is None else mean)
            sums[segment] = sums[segment] + seen / seen.norm()
    return sums


def test_without_a_mean_they_are_unit_vectors() -> None:
    vectors = data()[0]
    for mean in (None, torch.zeros(6, dtype=torch.float64)):
        torch.testing.assert_close(centred(vectors, mean), normalize(vectors, dim=1))
        torch.testing.assert_close(directions(vectors, mean), normalize(vectors, dim=1))


def test_a_mean_is_taken_off_the_unit_vector() -> None:
    mean = torch.tensor([0.6, 0.0])
    torch.testing.assert_close(
        centred(torch.tensor([[0.0, 5.0], [0.0, 0.0]]), mean), torch.tensor([[-0.6, 1.0], [-0.6, 0.0]])
    )
    assert directions(torch.tensor([[1.0, 1.0]], dtype=torch.bfloat16), mean).dtype == torch.float32


def test_what_is_nearer_to_the_mean_than_float32_can_tell_is_no_direction() -> None:
    mean = torch.tensor([1.0, 0.0])
    found = directions(torch.tensor([[1.0, 1e-5], [1.0, 10 * NEAREST]]), mean).norm(dim=1)
    assert found[0].item() < 0.05
    assert found[1].item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("rows", [1, 40, 1500])
def test_sums_are_those_of_the_rows_one_by_one(rows: int, with_mean: bool) -> None:
    vectors, counts, index, some = data(rows)
    mean = some if with_mean else None
    leaf, naive = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    found, expected = direction_sums(leaf, index, 7, counts, mean), one_by_one(naive, counts, index, 7, mean)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    if not counts.any():
        assert not found.any()
        return
    (got,) = torch.autograd.grad(found, leaf, upstream)
    (wanted,) = torch.autograd.grad(expected, naive, upstream)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("with_mean", [False, True])
def test_gradient_by_finite_differences(with_mean: bool) -> None:
    vectors, counts, index, mean = data()
    assert torch.autograd.gradcheck(
        lambda leaf: direction_sums(leaf, index, 5, counts, mean if with_mean else None), vectors.requires_grad_()
    )


@pytest.mark.parametrize("rows", [40, 20_000])  # the last in several blocks
def test_half_types_give_float32_sums_and_their_own_gradient(rows: int) -> None:
    vectors, counts, index, mean = data(rows)
    leaf = vectors.to(torch.bfloat16).requires_grad_()
    sums = direction_sums(leaf, index, 5, counts, mean)
    assert sums.dtype == torch.float32
    wide = leaf.detach().float().requires_grad_()
    expected = direction_sums(wide, index, 5, counts, mean)
    torch.testing.assert_close(sums, expected)
    (got,), (wanted,) = (torch.autograd.grad(value.sum(), of) for value, of in ((sums, leaf), (expected, wide)))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=1e-2, atol=1e-3)


def test_autocast_does_not_coarsen_what_is_left_after_centring() -> None:
    vectors, counts, index, mean = data()
    vectors = (mean + 0.05 * vectors).float()  # near the mean
    segments = directions(vectors[:5], mean.float())
    plain = direction_sums(vectors, index, 5, counts, mean), direction_dot(vectors, segments, index, mean)
    with torch.autocast("cpu", torch.bfloat16):
        cast = direction_sums(vectors, index, 5, counts, mean), direction_dot(vectors, segments, index, mean)
        pairs = mean_pairwise_cosine(vectors)
    torch.testing.assert_close(cast, plain)
    torch.testing.assert_close(pairs, mean_pairwise_cosine(vectors))


@pytest.mark.parametrize("with_mean", [False, True])
def test_a_row_of_zeros_keeps_value_and_gradient_finite(with_mean: bool) -> None:
    vectors, counts, index, mean = data()
    vectors[3], counts[3] = 0, True
    leaf = vectors.float().requires_grad_()
    sums = direction_sums(leaf, index, 5, counts, mean.float() if with_mean else None)
    sums.sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert bool(torch.isfinite(sums).all()) and bool(torch.isfinite(leaf.grad).all())


def test_cosines_with_the_vector_of_the_segment() -> None:
    vectors, _, index, mean = data()
    segments = directions(torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), mean)
    expected = (directions(vectors, mean) * segments[index]).sum(dim=1)
    torch.testing.assert_close(direction_dot(vectors, segments, index, mean), expected)


def test_mean_pairwise_cosine_is_that_of_all_pairs() -> None:
    vectors = data()[0].float()
    unit = normalize(vectors, dim=1)
    pairs = (unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)]
    torch.testing.assert_close(mean_pairwise_cosine(vectors), pairs.mean(), rtol=1e-4, atol=1e-6)
    assert mean_pairwise_cosine(torch.ones(5, 3)).item() == pytest.approx(1.0, abs=1e-5)
    assert bool(mean_pairwise_cosine(vectors[:1]).isnan())


def test_families_are_pooled_as_each_alone() -> None:
    vectors, counts, index, _ = data()
    masks = PointLists(torch.tensor([0, 3, 3, 5]), torch.tensor([0, 1, 39, 1, 2]))
    families = {
        "all": PointLists.of_superpoints(index, 5),
        "some": PointLists.of_superpoints(index, 5, counts),
        "masks": masks,
    }
    found = pooled_means(vectors, families)
    for segment in range(5):
        torch.testing.assert_close(found["all"][segment], vectors[index == segment].mean(dim=0))
        torch.testing.assert_close(found["some"][segment], vectors[(index == segment) & counts].mean(dim=0))
    torch.testing.assert_close(found["masks"][0], vectors[[0, 1, 39]].mean(dim=0))
    assert not found["masks"][1].any()
    torch.testing.assert_close(found["masks"][2], vectors[1:3].mean(dim=0))
    assert pooled_means(vectors, {}) == {}
