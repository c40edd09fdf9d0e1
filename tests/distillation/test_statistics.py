"""Numbers over lessons: the final cosine is taken as the training compares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.statistics import mean_cosine


def constant_adapter(said: list[float]) -> Adapter:
    adapter = Adapter(2, len(said), hidden_channels=3)
    with torch.no_grad():
        adapter.project.weight.zero_()
        adapter.project.bias.copy_(torch.tensor(said))
    return adapter


def one_lesson(targets: list[list[float]]) -> Lesson:
    count = len(targets)
    return Lesson("one", torch.ones(count, 2), torch.arange(count), torch.tensor(targets, dtype=torch.float16))


def test_final_cosine_is_seen_from_the_mean_that_training_took_off() -> None:
    adapter, lesson = constant_adapter([2.0, 0.0]), one_lesson([[3.0, 0.0], [0.0, 5.0]])
    assert mean_cosine(adapter, [lesson]) == pytest.approx(0.5)
    adapter.semantic_mean.copy_(torch.tensor([0.5, 0.5]))  # the targets lie on opposite sides of it
    assert mean_cosine(adapter, [lesson]) == pytest.approx(0.0, abs=1e-6)


def test_lengths_say_nothing_and_every_taught_point_counts_once() -> None:
    adapter = constant_adapter([1.0, 0.0])
    lessons = [one_lesson([[1.0, 0.0]] * 3), one_lesson([[0.0, 1.0]])]
    assert mean_cosine(adapter, lessons) == pytest.approx(0.75)
    longer = replace(lessons[1], targets=torch.tensor([[0.0, 100.0]], dtype=torch.float16))
    assert mean_cosine(adapter, [lessons[0], longer]) == pytest.approx(0.75)
