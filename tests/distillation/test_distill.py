"""Distillation: it learns what can be learnt, on all scenes alike, and twice the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.distill import DistillationTrainer, MakeObjective, Student, TrainingSettings, distill
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.objective import Objective, ObjectiveSettings, preset
from geoguide3d.distillation.validation import Validation, ValidationScene
from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import RunFolder
from tests.distillation.lessons import DIRECTIONS, SETTINGS, PlainObjective, ScaledObjective, lesson, three_lessons


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    return three_lessons()


def test_separable_classes_are_learnt(lessons: list[Lesson]) -> None:
    distilled = distill(lessons, SETTINGS, PlainObjective)
    assert distilled.final_cosine > 0.98
    for one in lessons:
        said = distilled.adapter(one.feature_rows(one.taught))
        assert torch.nn.functional.cosine_similarity(said, one.target_rows(slice(None))).min() > 0.9
    assert not distilled.adapter.training


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(lessons: list[Lesson]) -> None:
    torch.manual_seed(1)
    first = distill(lessons, SETTINGS, PlainObjective)
    torch.manual_seed(2)  # what the caller draws does not matter
    second, other = (distill(lessons, settings, PlainObjective) for settings in (SETTINGS, replace(SETTINGS, seed=1)))
    assert first.log == second.log != other.log
    states = [run.adapter.state_dict() for run in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["project.weight"], states[2]["project.weight"])


def test_the_random_state_of_the_caller_is_left_alone(lessons: list[Lesson]) -> None:
    state = torch.get_rng_state()
    distill(lessons, replace(SETTINGS, steps=1), PlainObjective)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_scene_is_seen_once_per_epoch(lessons: list[Lesson]) -> None:
    seen: list[int] = []

    class Notes(PlainObjective):
        def forward(self, semantic, sample, generator):  # type: ignore[no-untyped-def]
            seen.append(int(sample.targets[sample.taught][0].argmax()))
            return super().forward(semantic, sample, generator)

    distill(lessons, replace(SETTINGS, steps=6, scenes_per_step=2), Notes)
    epochs = [seen[start : start + 3] for start in range(0, 12, 3)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_inputs_are_standardised_by_all_lessons_together(lessons: list[Lesson]) -> None:
    adapter = distill(lessons, replace(SETTINGS, steps=1), PlainObjective).adapter
    features = torch.cat([one.feature_rows(slice(None)) for one in lessons]).double()
    torch.testing.assert_close(adapter.input_mean.double(), features.mean(dim=0), rtol=1e-6, atol=1e-6)
    expected = features.std(dim=0, correction=0)
    torch.testing.assert_close(adapter.input_scale.double()[:3], expected[:3], rtol=1e-6, atol=0)
    assert adapter.input_scale[3] == 1  # the channel that does not vary


def test_the_objective_gets_the_mean_unit_target_and_the_adapter_what_it_centres_by(lessons: list[Lesson]) -> None:
    counts = torch.tensor([float(len(one.taught)) for one in lessons])
    expected = (counts[:, None] * DIRECTIONS).sum(dim=0) / counts.sum()
    settings = replace(preset("plain"), centred=True)
    centred = distill(lessons, replace(SETTINGS, steps=1), partial(Objective, settings)).adapter
    torch.testing.assert_close(centred.semantic_mean, expected)
    assert not distill(lessons, replace(SETTINGS, steps=1), PlainObjective).adapter.semantic_mean.any()


def test_the_log_covers_every_step(lessons: list[Lesson]) -> None:
    log = distill(lessons, SETTINGS, PlainObjective).log
    assert [entry["step"] for entry in log] == [60, 120, 160]
    assert log[0]["loss"] > log[1]["loss"] > log[2]["loss"]
    assert 0 < log[-1]["learning_rate"] < log[0]["learning_rate"] < SETTINGS.learning_rate


def test_a_step_of_scenes_follows_the_mean_of_their_gradients(lessons: list[Lesson]) -> None:
    settings = replace(SETTINGS, scenes_per_step=3, longest_gradient=1e9)
    torch.manual_seed(0)
    student = Student(Adapter(4, 6, 16), ScaledObjective(4, 6, torch.zeros(6)))
    trainer = DistillationTrainer(student, lessons, settings, Processes())
    names = [name for name, _ in student.named_parameters()]
    sums = dict.fromkeys(names, torch.zeros(()))
    losses = []
    for part in range(3):
        terms = trainer.terms(part)
        gradients = torch.autograd.grad(terms["loss"], list(student.parameters()), allow_unused=True)
        sums = {n: sums[n] + (0 if g is None else g) for n, g in zip(names, gradients, strict=True)}
        losses.append(float(terms["loss"].detach()))
    step = trainer.step()
    assert step["loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)
    for name, value in student.named_parameters():
        torch.testing.assert_close(value.grad, sums[name] / 3, rtol=1e-5, atol=1e-7)


def test_a_run_with_another_objective_or_other_scenes_is_not_resumed(lessons: list[Lesson], tmp_path: Path) -> None:
    def objective(weight: float) -> MakeObjective:
        return partial(Objective, ObjectiveSettings(targets="points", imr_weight=weight, iirc_weight=0.0))

    run, short = RunFolder(tmp_path), replace(SETTINGS, steps=2)
    distill(lessons, short, objective(1.0), run)
    with pytest.raises(ValueError, match=r"was written with objective.imr_weight = 1.0, now it is 0.1"):
        distill(lessons, short, objective(0.1), run)
    with pytest.raises(
        ValueError, match=r"written with lessons = 3 of 450 points, 225 taught, \w{12}, now it is 2 of 250 "
    ):
        distill(lessons[:2], short, objective(1.0), run)
    warped = replace(lessons[0], features=2 * lessons[0].feature_rows(slice(None)))
    with pytest.raises(ValueError, match=r"was written with statistics of their features = "):
        distill([warped, *lessons[1:]], short, objective(1.0), run)


def test_a_sample_without_a_taught_point_changes_nothing() -> None:
    untaught = replace(lesson(0), taught=torch.tensor([0]), targets=torch.ones(1, 6))
    settings = replace(SETTINGS, steps=3, points_per_step=2, log_every=1)
    log = distill([untaught], settings, PlainObjective).log
    assert [entry["loss"] for entry in log] == [0.0, 0.0, 0.0]


def test_bf16_learns_as_well(lessons: list[Lesson]) -> None:
    full, half = (distill(lessons, replace(SETTINGS, precision=kind), PlainObjective) for kind in ("float32", "bf16"))
    assert full.log != half.log
    assert half.final_cosine > 0.98
    assert half.adapter.project.weight.dtype == torch.float32


def test_validation_is_measured_while_training(lessons: list[Lesson], tmp_path: Path) -> None:
    kinds = [torch.full((len(one),), kind) for kind, one in enumerate(lessons)]
    scenes = [ValidationScene(one.name, one.features, kind) for one, kind in zip(lessons, kinds, strict=True)]
    distilled = distill(lessons, SETTINGS, PlainObjective, RunFolder(tmp_path), Validation(scenes, DIRECTIONS, 80))
    measured = [entry for entry in distilled.log if "validation_mean_iou" in entry]
    assert [entry["step"] for entry in measured] == [80, 160]
    assert measured[-1]["validation_mean_iou"] > 0.95
    assert measured[-1]["validation_mean_accuracy"] > 0.95


def test_lessons_of_one_name_are_told_apart_when_a_run_goes_on(lessons: list[Lesson]) -> None:
    first, second = (replace(one, name="scan") for one in lessons[:2])
    settings = replace(SETTINGS, steps=1)

    def told(taught: list[Lesson]) -> str:
        student = Student(Adapter(4, 6, 8), PlainObjective(4, 6, DIRECTIONS[0]))
        return DistillationTrainer(student, taught, settings, Processes()).settings()["lessons"]

    assert told([first, second]) != told([second, first])  # the step draws by place
    assert told([first, second]).startswith("2 of 250 points, 125 taught, ")


def test_lessons_must_share_their_widths(lessons: list[Lesson]) -> None:
    with pytest.raises(ValueError, match="share their widths"):
        distill([], SETTINGS, PlainObjective)
    narrow = replace(lessons[1], features=lessons[1].feature_rows(slice(None))[:, :3])
    with pytest.raises(ValueError, match=r"\[\(3, 6\), \(4, 6\)\]"):
        distill([lessons[0], narrow], SETTINGS, PlainObjective)


@pytest.mark.parametrize(
    "name", ["steps", "points_per_step", "scenes_per_step", "learning_rate", "hidden_channels", "log_every"]
)
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"training.{name} must be positive, got 0"):
        replace(SETTINGS, **{name: 0})


def test_every_scene_of_a_step_needs_a_point() -> None:
    with pytest.raises(ValueError, match=r"points_per_step must be at least training.scenes_per_step, got 3 and 4"):
        TrainingSettings(points_per_step=3, scenes_per_step=4)


def test_a_loss_that_is_not_finite_is_told(lessons: list[Lesson]) -> None:
    class Broken(PlainObjective):
        def forward(self, semantic, sample, generator):  # type: ignore[no-untyped-def]
            return {"loss": semantic.sum() * torch.nan}

    with pytest.raises(ValueError, match=r"step 1: the loss is nan; lower training.learning_rate"):
        distill([lesson(0)], SETTINGS, Broken)


@pytest.mark.gpu
def test_trains_on_a_gpu_and_goes_on(lessons: list[Lesson], tmp_path: Path) -> None:
    settings = replace(SETTINGS, device="cuda", precision="bf16", checkpoint_steps=80)
    distilled = distill(lessons, settings, ScaledObjective, RunFolder(tmp_path))
    assert distilled.final_cosine > 0.98
    assert distilled.adapter.project.weight.device.type == "cpu"
    again = distill(lessons, settings, ScaledObjective, RunFolder(tmp_path))  # finished: only read
    assert torch.equal(again.adapter.project.weight, distilled.adapter.project.weight)
