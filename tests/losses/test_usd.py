"""Superpoint distillation: the head's start, the weights' algebra, gradients, entropy, and a naive reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, gelu, normalize

from geoguide3d.losses.pooling import pooled_means
from geoguide3d.losses.readings import read
from geoguide3d.losses.usd import Taught, UncertaintyHead, Usd, UsdSettings, point_weights, usd, weight_entropy
from geoguide3d.ops.point_lists import PointLists

P, Q, G, C = 60, 7, 5, 4
WEIGHTS = ["uniform", "sigmoid", "softmax", "robust"]


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Taught]:
    """Outputs, geometry, and what images say; superpoint 2 has no taught point, superpoint 3 has one."""
    generator = torch.Generator().manual_seed(seed)
    semantic, targets = torch.randn(2, P, C, dtype=torch.float64, generator=generator).unbind()
    geometric = torch.randn(P, G, dtype=torch.float64, generator=generator)
    superpoints = torch.cat([torch.arange(Q), torch.randint(0, Q, (P - Q,), generator=generator)])
    taught = (torch.rand(P, generator=generator) < 0.8) & (superpoints != 2) & (superpoints != 3)
    taught[3] = True
    return semantic, geometric, Taught(targets * taught[:, None], taught, superpoints, Q)


def trained_head() -> UncertaintyHead:
    torch.manual_seed(3)
    head = UncertaintyHead(G, C, 8).double()
    torch.nn.init.normal_(head.score.weight)
    return head


def value(
    settings: UsdSettings,
    semantic: Tensor,
    geometric: Tensor,
    taught: Taught,
    head: UncertaintyHead | None = None,
    mean: Tensor | None = None,
) -> Usd:
    lists = {"all": PointLists.of_superpoints(taught.superpoints, taught.count)}
    weights = point_weights(settings, head, (geometric, pooled_means(geometric, lists)["all"]), taught, mean)
    _, means, sums = read(semantic, {"t": taught.lists}, taught, mean)
    assert sums is not None
    return usd(sums, means["t"], weights, taught, settings, mean)


def naive(
    settings: UsdSettings,
    semantic: Tensor,
    geometric: Tensor,
    taught: Taught,
    head: UncertaintyHead,
    mean: Tensor | None,
) -> Tensor:
    """One superpoint after the other, the head's input written out."""

    def seen(rows: Tensor) -> Tensor:
        return normalize(rows, dim=-1) - (0 if mean is None else mean)

    points, superpoints = [], []
    for q in range(taught.count):
        everyone, members = taught.superpoints == q, (taught.superpoints == q) & taught.taught
        if not members.any():
            continue
        images, outputs = taught.targets[members], semantic[members]
        images = normalize(images, dim=1) if settings.normalize_targets else images
        differences = [geometric[everyone].mean(dim=0) - geometric[members], images.mean(dim=0) - images]
        logits = head.score(gelu(head.expand(torch.cat(differences, dim=1)))).squeeze(1)
        shares = {
            "uniform": torch.ones_like(logits),
            "sigmoid": logits.sigmoid(),
            "softmax": logits.softmax(dim=0),
            "robust": (settings.sharpness * cosine_similarity(seen(images), seen(images.mean(dim=0))[None])).exp(),
        }[settings.weight]
        target = seen((shares[:, None] * images).sum(dim=0) / shares.sum())
        points.append(1 - cosine_similarity(seen(outputs), target[None], dim=1))
        superpoints.append(1 - cosine_similarity(seen(outputs.mean(dim=0)), target, dim=0))
    return torch.cat(points).mean() + torch.stack(superpoints).mean()


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("normalize_targets", [False, True])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_matches_one_superpoint_after_the_other(weight: str, normalize_targets: bool, with_mean: bool) -> None:
    semantic, geometric, taught = scene()
    mean = 0.8 * normalize(torch.ones(C, dtype=torch.float64), dim=0) if with_mean else None
    settings, head = UsdSettings(weight=weight, normalize_targets=normalize_targets), trained_head()  # type: ignore[arg-type]
    leaves = [semantic.requires_grad_(), *head.parameters()]
    found = value(settings, semantic, geometric, taught, head, mean).loss
    expected = naive(settings, semantic, geometric, taught, head, mean)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)  # eps of the weighted mean
    got = torch.autograd.grad(found, leaves, allow_unused=True, retain_graph=True)
    wanted = torch.autograd.grad(expected, leaves, allow_unused=True)
    for leaf, *pair in zip(leaves, got, wanted, strict=True):
        one, other = (torch.zeros_like(leaf) if grad is None else grad for grad in pair)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weight", ["sigmoid", "softmax"])
def test_a_new_head_gives_stage_one_of_sas_exactly(weight: str) -> None:
    semantic, geometric, taught = scene()
    head = UncertaintyHead(G, C).double()
    found = value(UsdSettings(weight=weight), semantic, geometric, taught, head)  # type: ignore[arg-type]
    expected = value(UsdSettings(weight="uniform"), semantic, geometric, taught)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12, atol=0)
    assert found.entropy.item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("weight", ["sigmoid", "softmax"])
def test_the_gradient_reaches_the_head_unless_detached(weight: str) -> None:
    semantic, geometric, taught = scene()
    for settings, reached in ((UsdSettings(weight=weight), True), (UsdSettings(weight=weight, detach=True), False)):  # type: ignore[arg-type]
        head = trained_head()
        value(settings, semantic.requires_grad_(), geometric, taught, head).loss.backward()  # type: ignore[no-untyped-call]
        for parameter in (head.expand.weight, head.score.weight):
            assert (parameter.grad is not None and bool(parameter.grad.any())) == reached
    new = UncertaintyHead(G, C).double()  # its last layer learns first
    value(UsdSettings(weight=weight), semantic, geometric, taught, new).loss.backward()  # type: ignore[arg-type,no-untyped-call]
    assert new.score.weight.grad is not None and bool(new.score.weight.grad.any())


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_order_of_points_does_not_matter(weight: str) -> None:
    semantic, geometric, taught = scene()
    order = torch.randperm(P, generator=torch.Generator().manual_seed(4))
    turned = Taught(taught.targets[order], taught.taught[order], taught.superpoints[order], Q)
    settings, head = UsdSettings(weight=weight), trained_head()  # type: ignore[arg-type]
    lists = {"all": PointLists.of_superpoints(taught.superpoints, Q)}
    means = pooled_means(geometric, lists)["all"]
    weights = point_weights(settings, head, (geometric, means), taught)
    torch.testing.assert_close(point_weights(settings, head, (geometric[order], means), turned), weights[order])
    first = value(settings, semantic, geometric, taught, head)
    torch.testing.assert_close(value(settings, semantic[order], geometric[order], turned, head), first)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_points_without_an_image_do_not_matter(weight: str) -> None:
    semantic, geometric, taught = scene()
    settings, head = UsdSettings(weight=weight), trained_head()  # type: ignore[arg-type]
    first = value(settings, semantic, geometric, taught, head)
    other = replace(taught, targets=taught.targets + 7.0 * ~taught.taught[:, None])
    changed = torch.where(taught.taught[:, None], semantic, -semantic)
    torch.testing.assert_close(value(settings, changed, geometric, other, head), first)


def test_gradient_by_finite_differences() -> None:
    semantic, geometric, taught = scene()
    head, settings = trained_head(), UsdSettings(entropy_floor=1.0)
    assert torch.autograd.gradcheck(
        lambda leaf, *_: value(settings, leaf, geometric, taught, head).loss,
        (semantic.requires_grad_(), *head.parameters()),
    )


def test_entropy_is_one_for_even_shares_and_falls_to_zero() -> None:
    taught = Taught(torch.ones(7, 2), torch.tensor([True] * 6 + [False]), torch.tensor([0, 0, 1, 1, 1, 2, 3]), 4)
    found = weight_entropy(torch.tensor([0.3, 0.3, 1.0, 0.0, 0.0, 0.2, 0.0]), taught)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 1.0, 1.0]), rtol=0, atol=1e-6)
    half = weight_entropy(torch.tensor([0.1, 0.3, 1.0, 1.0, 1.0, 1.0, 0.0]), taught)[0].item()
    assert half == pytest.approx(
        -(0.25 * torch.tensor(0.25).log2() + 0.75 * torch.tensor(0.75).log2()).item(), abs=1e-6
    )


def test_the_entropy_floor_adds_the_shortfall() -> None:
    semantic, geometric, taught = scene()
    head = trained_head()
    plain, entropy = value(UsdSettings(), semantic, geometric, taught, head)
    assert 0 < entropy.item() < 1
    floored = value(UsdSettings(entropy_floor=1.0), semantic, geometric, taught, head).loss
    assert (floored - plain).item() == pytest.approx(1 - entropy.item(), abs=1e-9)


def test_one_superpoint_and_bad_input() -> None:
    semantic, geometric, taught = scene()
    one = Taught(taught.targets, taught.taught, torch.zeros(P, dtype=torch.int64), 1)
    head = trained_head()
    expected = naive(UsdSettings(), semantic, geometric, one, head, None)
    torch.testing.assert_close(value(UsdSettings(), semantic, geometric, one, head).loss, expected, rtol=1e-5, atol=0)
    nobody = replace(taught, taught=torch.zeros(P, dtype=torch.bool))
    with pytest.raises(ValueError, match="no point is taught"):
        value(UsdSettings(weight="uniform"), semantic, geometric, nobody)
    with pytest.raises(ValueError, match="needs an uncertainty head"):
        value(UsdSettings(), semantic, geometric, taught)


@pytest.mark.parametrize("wrong", [{"sharpness": -1.0}, {"hidden_channels": 0}, {"entropy_floor": 1.5}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"usd.{next(iter(wrong))}"):
        UsdSettings(**wrong)  # type: ignore[arg-type]
