"""Readings of the outputs: each is what its own op says, and one gradient is the sum of theirs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geoguide3d.losses.pooling import pooled_means
from geoguide3d.losses.readings import read
from geoguide3d.losses.usd import Taught
from geoguide3d.ops import direction_sums
from geoguide3d.ops.point_lists import PointLists

P, C, Q = 60, 7, 5


def data() -> tuple[Tensor, Taught, dict[str, PointLists], Tensor]:
    seed = torch.Generator().manual_seed(0)
    vectors = torch.randn(P, C, dtype=torch.float64, generator=seed)
    superpoints = torch.randint(0, Q, (P,), generator=seed)
    taught = Taught(vectors.flip(0), torch.rand(P, generator=seed) < 0.7, superpoints, Q)
    masks = PointLists(torch.tensor([0, 3, 3, 5]), torch.tensor([0, 1, 39, 1, 2]))
    mean = 0.2 * torch.rand(C, dtype=torch.float64, generator=seed)
    return vectors, taught, {"taught": taught.lists, "masks": masks}, mean


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("parts", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (1, 0, 0)])
def test_values_and_gradient_are_those_of_the_ops_apart(parts: tuple[int, int, int], with_mean: bool) -> None:
    vectors, taught, families, some = data()
    mean = some if with_mean else None

    def total(same: Tensor, means: dict[str, Tensor], sums: Tensor) -> Tensor:
        terms = same.cos().sum(), means["masks"].square().sum() + means["taught"].sin().sum(), sums.exp().sum()
        return torch.stack([term for term, wanted in zip(terms, parts, strict=True) if wanted]).sum()

    leaf, other = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    same, means, sums = read(leaf, families, taught, mean)
    assert sums is not None and torch.equal(same, vectors)
    apart = direction_sums(other, taught.superpoints, Q, taught.taught, mean)
    got, expected = total(same, means, sums), total(other, pooled_means(other, families), apart)
    torch.testing.assert_close(got, expected)
    (gradient,), (wanted,) = torch.autograd.grad(got, leaf), torch.autograd.grad(expected, other)
    torch.testing.assert_close(gradient, wanted)


def test_gradient_by_finite_differences() -> None:
    vectors, taught, families, mean = data()

    def readings(leaf: Tensor) -> tuple[Tensor, ...]:
        same, means, sums = read(leaf, families, taught, mean)
        assert sums is not None
        return same * 2, means["masks"], sums

    assert torch.autograd.gradcheck(readings, vectors.requires_grad_())


def test_a_gradient_that_comes_back_is_not_written_into() -> None:
    vectors, taught, families, mean = data()
    same, means, sums = read(vectors.requires_grad_(), families, taught, mean)
    assert sums is not None
    upstream = torch.ones_like(same)
    torch.autograd.grad((same, means["masks"], sums), vectors, (upstream, means["masks"].detach(), sums.detach()))
    assert bool((upstream == 1).all())


def test_half_types_keep_their_dtype() -> None:
    vectors, taught, families, mean = data()
    leaf = vectors.to(torch.bfloat16).requires_grad_()
    same, means, sums = read(leaf, families, taught, mean)
    assert sums is not None
    assert (same.dtype, means["masks"].dtype, sums.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    (gradient,) = torch.autograd.grad(same.float().sum() + means["masks"].sum() + sums.sum(), leaf)
    assert gradient.dtype == torch.bfloat16


def test_without_lists_or_taught_points() -> None:
    vectors, _, families, _ = data()
    assert read(vectors, {}, None, None) == (vectors, {}, None)
    same, means, sums = read(vectors, families, None, None)
    assert sums is None and same is not None
    torch.testing.assert_close(means, pooled_means(vectors, families))
