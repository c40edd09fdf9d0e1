"""Distillation: it learns what can be learnt, on all scenes alike, and twice the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geoguide3d.distillation.distill import TrainingSettings, distill
from geoguide3d.distillation.lessons import Lesson

SETTINGS = TrainingSettings(steps=160, points_per_step=128, learning_rate=3e-3, hidden_channels=32, log_every=60)
DIRECTIONS = torch.eye(6)[:3]


def lesson(kind: int, count: int = 200, offset: float = 0.0) -> Lesson:
    """Points of one class, told from others by a channel of small scale beside one of large scale."""
    generator = torch.Generator().manual_seed(kind)
    features = torch.randn(count, 4, generator=generator) * torch.tensor([1e-3, 1e3, 1.0, 0.0]) + offset
    features[:, 0] += 1e-2 * kind
    return Lesson(f"kind {kind}", features, DIRECTIONS[kind].expand(count, -1).to(torch.float16), 2 * count)


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    return [lesson(0), lesson(1, count=50), lesson(2)]


def test_separable_classes_are_learnt(lessons: list[Lesson]) -> None:
    distilled = distill(lessons, SETTINGS)
    assert distilled.final_cosine > 0.98
    for one in lessons:
        cosines = torch.nn.functional.cosine_similarity(distilled.adapter(one.features), one.targets.float())
        assert cosines.min() > 0.9
    assert not distilled.adapter.training


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(lessons: list[Lesson]) -> None:
    torch.manual_seed(1)
    first = distill(lessons, SETTINGS)
    torch.manual_seed(2)  # what the caller draws does not matter
    second, other = distill(lessons, SETTINGS), distill(lessons, replace(SETTINGS, seed=1))
    assert first.log == second.log != other.log
    states = [run.adapter.state_dict() for run in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["project.weight"], states[2]["project.weight"])


def test_the_random_state_of_the_caller_is_left_alone(lessons: list[Lesson]) -> None:
    state = torch.get_rng_state()
    distill(lessons, replace(SETTINGS, steps=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_are_standardised_by_all_lessons_together(lessons: list[Lesson]) -> None:
    adapter = distill(lessons, replace(SETTINGS, steps=1)).adapter
    features = torch.cat([one.features for one in lessons])
    torch.testing.assert_close(adapter.input_mean, features.mean(dim=0))
    expected = features.std(dim=0, correction=0)
    torch.testing.assert_close(adapter.input_scale[:3], expected[:3])
    assert adapter.input_scale[3] == 1  # the channel that does not vary


def test_the_log_covers_every_step(lessons: list[Lesson]) -> None:
    log = distill(lessons, SETTINGS).log
    assert [entry["step"] for entry in log] == [60, 120, 160]
    assert log[0]["loss"] > log[1]["loss"] > log[2]["loss"]
    assert 0 < log[-1]["learning_rate"] < log[0]["learning_rate"] < SETTINGS.learning_rate


def test_lessons_must_share_their_widths(lessons: list[Lesson]) -> None:
    with pytest.raises(ValueError, match="share their widths"):
        distill([], SETTINGS)
    with pytest.raises(ValueError, match=r"\[\(3, 6\), \(4, 6\)\]"):
        distill([lessons[0], replace(lessons[1], features=lessons[1].features[:, :3])], SETTINGS)


@pytest.mark.parametrize("name", ["steps", "points_per_step", "learning_rate", "hidden_channels", "log_every"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"training.{name} must be positive, got 0"):
        replace(SETTINGS, **{name: 0})
