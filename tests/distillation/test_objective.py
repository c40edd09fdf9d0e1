"""The objective: presets, terms that are left out, what is logged, determinism, and what it refuses."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.distillation.objective import PRESETS, Objective, ObjectiveSettings, preset
from geoguide3d.distillation.sample import Sample
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.losses.iirc import IircSettings
from geoguide3d.losses.imr import ImrSettings
from geoguide3d.losses.usd import UsdSettings

P, G, C = 300, 6, 5
TERMS = ("distillation", "imr", "iirc")


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def make_sample() -> Sample:
    taught = torch.rand(P, generator=seed(1)) < 0.8
    masks = PointMasks.from_dense(
        torch.rand(5, P, generator=seed(2)) < torch.tensor([0.5, 0.4, 0.3, 0.05, 0.0])[:, None]
    )
    return Sample(
        geometric=torch.randn(P, G, generator=seed(3)),
        targets=torch.randn(P, C, generator=seed(4)) * taught[:, None],
        taught=taught,
        superpoints=torch.arange(P) // 10,
        masks=masks,
    )


def outputs() -> Tensor:
    return torch.randn(P, C, generator=seed(5)).requires_grad_()


def make(settings: ObjectiveSettings) -> Objective:
    torch.manual_seed(0)
    return Objective(settings, G, C, 0.7 * normalize(torch.ones(C), dim=0))


def run(settings: ObjectiveSettings, sample: Sample | None = None, number: int = 7) -> tuple[dict[str, Tensor], Tensor]:
    """What the objective returns, and the gradient of the outputs."""
    semantic = outputs()
    result = make(settings)(semantic, make_sample() if sample is None else sample, seed(number))
    result["loss"].backward()
    assert semantic.grad is not None
    return result, semantic.grad


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_loss_is_the_weighted_sum_of_its_terms(name: str) -> None:
    settings = preset(name)
    result, grad = run(settings)
    weights = dict(zip(TERMS, (settings.distillation_weight, settings.imr_weight, settings.iirc_weight), strict=True))
    assert {term for term in TERMS if term in result} == {term for term in TERMS if weights[term] > 0}
    expected = sum(weights[term] * result[term].item() for term in TERMS if term in result)
    assert result["loss"].item() == pytest.approx(expected, rel=1e-6)
    assert bool(torch.isfinite(grad).all()) and bool(grad.any())
    assert all(value.ndim == 0 and not value.requires_grad for key, value in result.items() if key != "loss")
    assert -1 <= result["mean_cosine"].item() <= 1
    assert ("weight_entropy" in result) == (settings.targets == "superpoints")


def test_the_literal_paper_starts_as_sas_and_respects_the_floor() -> None:
    paper, sas = run(preset("paper"))[0], run(preset("sas"))[0]
    assert paper["distillation"].item() == pytest.approx(sas["distillation"].item(), rel=1e-6)
    assert paper["imr"].item() >= math.log1p(math.exp(-1))
    assert paper["weight_entropy"].item() == pytest.approx(1.0, abs=1e-6)


def test_plain_is_the_cosine_distance_of_taught_points_raw_and_centred() -> None:
    sample, semantic = make_sample(), outputs().detach()
    mean = make(replace(preset("plain"), centred=True)).semantic_mean
    for settings, centre in ((preset("plain"), 0), (replace(preset("plain"), centred=True), mean)):
        sides = [normalize(rows[sample.taught], dim=1) - centre for rows in (semantic, sample.targets)]
        expected = 1 - torch.nn.functional.cosine_similarity(*sides, dim=1).mean()
        torch.testing.assert_close(run(settings)[0]["distillation"], expected)


@pytest.mark.parametrize(
    ("weight", "function"),
    [("distillation_weight", "usd"), ("imr_weight", "imr"), ("iirc_weight", "iirc")],
)
def test_a_weight_of_zero_skips_the_term(weight: str, function: str) -> None:
    settings = replace(preset("paper"), **{weight: 0.0})  # type: ignore[arg-type]
    with mock.patch(f"geoguide3d.distillation.objective.{function}", side_effect=AssertionError("was called")):
        result, _ = run(settings)
    assert weight.removesuffix("_weight") not in result
    assert "loss" in result
    parameters = {name.split(".")[0] for name, _ in make(settings).named_parameters()}
    heads = {"distillation_weight": "uncertainty", "imr_weight": "mask_head", "iirc_weight": None}
    assert parameters == {"uncertainty", "mask_head"} - {heads[weight]}


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"masks": None}, {"imr"}),
        ({"superpoints": None}, {"distillation"}),
        ({"superpoints": None, "masks": None}, set(TERMS)),
        ({"taught": torch.zeros(P, dtype=torch.bool)}, {"distillation"}),
        ({"masks": PointMasks.from_dense(torch.zeros(0, P, dtype=torch.bool))}, {"imr"}),
        ({"masks": PointMasks.from_dense(torch.zeros(2, P, dtype=torch.bool))}, {"imr"}),
    ],
)
def test_what_a_scene_lacks_is_left_out_and_told_once(
    change: dict[str, object], left_out: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    sample, objective = replace(make_sample(), **change), make(preset("paper"))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            semantic = outputs()
            result = objective(semantic, sample, seed())
    messages = [record.getMessage() for record in caplog.records]
    assert messages and len(messages) == len(set(messages))
    assert set(TERMS) - set(result) == left_out
    result["loss"].backward()
    assert semantic.grad is not None
    assert result["loss"].item() == pytest.approx(
        sum(result[term].item() for term in TERMS if term in result), rel=1e-6
    )
    assert bool(semantic.grad.any()) == (left_out != set(TERMS))


def test_a_mask_of_everything_and_one_superpoint() -> None:
    everything = PointMasks.from_dense(torch.ones(1, P, dtype=torch.bool))
    sample = replace(make_sample(), masks=everything, superpoints=torch.zeros(P, dtype=torch.int64))
    for name in ("paper", "recommended"):
        result, grad = run(preset(name), sample)
        assert set(TERMS) <= set(result)
        assert bool(torch.isfinite(result["loss"])) and bool(torch.isfinite(grad).all())


def test_random_numbers_come_from_the_generator_alone() -> None:
    settings = replace(preset("recommended"), iirc=IircSettings(most_superpoints=9), imr=ImrSettings(most_masks=2))
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, grad = run(settings)
    second, again = run(settings)
    assert torch.equal(grad, again) and all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(run(settings, number=8)[1], grad)
    torch.random.set_rng_state(state)
    objective = make(settings)
    state = torch.random.get_rng_state()
    objective(outputs(), make_sample(), seed())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("occlusion", ["superpoints", "half_space"])
def test_other_occlusions(occlusion: str) -> None:
    settings = replace(preset("paper"), imr=ImrSettings(occlusion=occlusion))  # type: ignore[arg-type]
    sample = replace(make_sample(), points=torch.randn(P, 3, generator=seed()))
    assert run(settings, sample)[0]["imr"].item() > 0
    assert settings.needs_points == (occlusion == "half_space")
    if settings.needs_points:
        with pytest.raises(ValueError, match=r"Sample\.points"):
            run(settings)


def test_bfloat16_outputs_under_autocast() -> None:
    for name in PRESETS:
        semantic = outputs().detach().to(torch.bfloat16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            result = make(preset(name))(semantic, make_sample(), seed(7))
        result["loss"].backward()
        assert semantic.grad is not None and bool(torch.isfinite(semantic.grad).all())
        assert result["loss"].dtype == torch.float32
        assert result["loss"].item() == pytest.approx(run(preset(name))[0]["loss"].item(), rel=2e-2)


@pytest.mark.parametrize(
    ("field", "cure"), [("geometric", "encode the scene"), ("targets", "fuse the scene"), ("semantic", "diverged")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_features_that_are_not_finite(field: str, cure: str, value: float) -> None:
    sample, semantic = make_sample(), outputs().detach()
    rows = semantic if field == "semantic" else getattr(sample, field)
    rows[4:6] = value  # the largest float32 twice has no finite sum
    with pytest.raises(ValueError, match=rf"{field} has NaN or infinite numbers in 2 of {P} rows: .*{cure}"):
        make(preset("paper"))(semantic, sample, seed())


def test_shapes_that_do_not_fit() -> None:
    sample, objective = make_sample(), make(preset("paper"))
    wrong = {
        "semantic must be": (outputs()[:, :4], sample),
        "sample.geometric must be": (outputs(), replace(sample, geometric=torch.zeros(P, G + 1))),
        "sample.superpoints must be": (outputs(), replace(sample, superpoints=torch.zeros(P - 1, dtype=torch.int64))),
        "of another scene": (
            outputs(),
            replace(sample, masks=PointMasks.from_dense(torch.ones(1, 9, dtype=torch.bool))),
        ),
        "no points": (outputs()[:0], Sample(torch.zeros(0, G), torch.zeros(0, C), torch.zeros(0, dtype=torch.bool))),
    }
    for message, (semantic, given) in wrong.items():
        with pytest.raises(ValueError, match=message):
            objective(semantic, given, seed())


def test_presets_and_what_they_need() -> None:
    with pytest.raises(ValueError, match="choose one of plain, sas, paper, recommended"):
        preset("papers")
    needs = {name: (settings.needs_superpoints, settings.needs_masks) for name, settings in PRESETS.items()}
    assert needs == {"plain": (False, False), "sas": (True, False), "paper": (True, True), "recommended": (True, True)}
    assert preset("paper").imr == ImrSettings(logit_scale=1.0, balanced=False)
    assert preset("paper").usd == UsdSettings(weight="sigmoid")
    assert not list(make(preset("plain")).parameters())


@pytest.mark.parametrize("weights", [(-1.0, 1.0, 1.0), (math.nan, 1.0, 1.0), (math.inf, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_must_make_a_loss(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="weights of losses"):
        ObjectiveSettings(distillation_weight=weights[0], imr_weight=weights[1], iirc_weight=weights[2])


def test_centred_relations_need_a_centred_objective() -> None:
    seen = IircSettings(centre_semantic=True)
    with pytest.raises(ValueError, match=r"iirc\.centre_semantic needs a centred objective"):
        ObjectiveSettings(iirc=seen)
    assert ObjectiveSettings(iirc=seen, centred=True).iirc == ObjectiveSettings(iirc=seen, iirc_weight=0.0).iirc


def test_a_centred_objective_needs_a_good_mean() -> None:
    for mean, message in (
        (None, "needs semantic_mean"),
        (torch.zeros(C + 1), "must be"),
        (torch.full((C,), math.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            Objective(preset("recommended"), G, C, mean)
