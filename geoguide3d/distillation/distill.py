"""Distillation: an adapter learns to say about geometry what images say about the same points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.objective import Objective
from geoguide3d.distillation.sampling import Unit, draw, moved
from geoguide3d.distillation.statistics import feature_statistics, mean_cosine, mean_unit_target
from geoguide3d.distillation.validation import Validation
from geoguide3d.store.cache import content_key
from geoguide3d.training.checkpoint import named_settings
from geoguide3d.training.log import Entry
from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import RunFolder
from geoguide3d.training.schedule import Schedule
from geoguide3d.training.trainer import Trainer, train

# (geometric channels G, semantic channels C, mean unit vector of the teacher (C,)) → a fresh objective
MakeObjective = Callable[[int, int, Tensor], Objective]


@dataclass(frozen=True)
class TrainingSettings(Schedule):
    """How the adapter is trained, besides the `Schedule`.

    Args:
        scenes_per_step: scenes whose mean loss is one step's; they are shared by the processes, and need the memory
            of one. Four that share a step's points taught more than one (docs/ablation.md).
        points_per_step: points of a step, shared evenly by its scenes.
        drawn: what is drawn of larger scenes: points, which taught more per step (docs/ablation.md), or superpoints,
            whole ones.
        hidden_channels: width of the adapter.
        precision: of the adapter's matrix products; bf16 halves their time where the hardware has it.
        device: cpu or cuda.

    Raises:
        ValueError: a number that must be positive is not, or fewer points than scenes.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    warm_up: int = 0
    weight_decay: float = 0.0
    scenes_per_step: int = 4
    points_per_step: int = 20_000
    drawn: Unit = "points"
    hidden_channels: int = 768
    precision: Literal["float32", "bf16"] = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("scenes_per_step", "points_per_step", "hidden_channels")
        if self.points_per_step < self.scenes_per_step:
            raise ValueError(
                f"training.points_per_step must be at least training.scenes_per_step, got {self.points_per_step} and "
                f"{self.scenes_per_step}"
            )


@dataclass(frozen=True)
class Distilled:
    """A trained adapter and how its training went.

    Args:
        adapter: the moving average, on the CPU, in eval mode.
        log: what training.jsonl holds: per `log_every` steps the means of loss and terms; and the validations.
        final_cosine: mean cosine with the targets after training, over points spread evenly over all lessons; centred
            where the objective was.
    """

    adapter: Adapter
    log: list[Entry]
    final_cosine: float


class Student(nn.Module):
    """The adapter and the heads of the objective: what is trained and checkpointed; the adapter alone is exported."""

    def __init__(self, adapter: Adapter, objective: Objective) -> None:
        super().__init__()
        self.adapter, self.objective = adapter, objective


class DistillationTrainer(Trainer[Student]):
    """Teaches a student.

    Args:
        student: fresh, on the CPU.
        lessons: at least one, of equal widths.
        settings: how.
        processes: who share the scenes of a step.
        validation: what is measured meanwhile.
    """

    def __init__(
        self,
        student: Student,
        lessons: Sequence[Lesson],
        settings: TrainingSettings,
        processes: Processes,
        validation: Validation | None = None,
    ) -> None:
        super().__init__(student.to(processes.device), settings, settings.scenes_per_step, processes)
        self._lessons, self._settings, self._validation = lessons, settings, validation
        self._order: tuple[int, list[int]] = (-1, [])

    def terms(self, part: int) -> Mapping[str, Tensor]:
        """Returns the objective's terms of one scene of this step."""
        settings, device, generator = self._settings, self.processes.device, self.generator(part)
        lesson = self._lessons[self._scene(self.step_count * self.parts + part)]
        sample = moved(draw(lesson, settings.points_per_step // self.parts, generator, settings.drawn), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            semantic = self.model.adapter(sample.geometric)
        terms: Mapping[str, Tensor] = self.model.objective(semantic.to(torch.float32), sample, generator)
        return terms

    def measured(self) -> Entry:
        """Returns the validation's scores every so many steps, and after the last."""
        wanted = self._validation
        if wanted is None or (self.step_count % wanted.every and self.step_count != self.schedule.steps):
            return {}
        return wanted.measure(self.averaged.adapter)

    def settings(self) -> dict[str, str]:
        """Returns the settings, and what tells these lessons from others."""
        adapter, minimised = self.model.adapter, named_settings(self.model.objective.settings)
        buffers = {"mean": adapter.input_mean, "scale": adapter.input_scale, "semantic": adapter.semantic_mean}
        return {
            **named_settings(self._settings),
            **{f"objective.{name}": value for name, value in minimised.items()},
            "objective": type(self.model.objective).__name__,
            "lessons": _told(self._lessons),
            "statistics of their features": content_key(buffers),
        }

    def _scene(self, place: int) -> int:
        """Returns the lesson at a place of the whole course; each epoch has an order of its own."""
        epoch, row = divmod(place, len(self._lessons))
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed((self._settings.seed + 1) * 1_000_003 + epoch)
            self._order = epoch, torch.randperm(len(self._lessons), generator=generator).tolist()
        return self._order[1][row]


def distill(
    lessons: Sequence[Lesson],
    settings: TrainingSettings,
    objective: MakeObjective,
    run: RunFolder | None = None,
    validation: Validation | None = None,
) -> Distilled:
    """Trains an adapter on the lessons and returns its moving average.

    The same lessons, settings, objective, torch and number of threads give the same bits on a CPU, also where the
    training was stopped and goes on from its checkpoint. Every term is a mean inside a scene and then over the scenes
    of a step, so that the number of processes changes nothing but rounding.

    Args:
        objective: makes what is minimised, such as `partial(Objective, preset("recommended"))`.
        run: where checkpoints and the log are kept, and a stopped training is found again; None writes nothing.
        validation: is measured while training.

    Raises:
        ValueError: no lessons, lessons of different widths, or what `train` refuses.
        OSError: what `train` cannot write.
    """
    widths = {(lesson.geometric_channels, lesson.semantic_channels) for lesson in lessons}
    if len(widths) != 1:
        raise ValueError(f"lessons must share their widths (G, C) and there must be one, got {sorted(widths)}")
    processes = Processes(settings.device)
    student = _fresh_student(lessons, settings, objective)
    trainer = DistillationTrainer(student, lessons, settings, processes, validation)
    log = train(trainer, run)
    adapter = trainer.averaged.adapter.to("cpu").eval()
    return Distilled(adapter, log, mean_cosine(adapter, lessons))


def _told(lessons: Sequence[Lesson]) -> str:
    """Returns what tells lessons from others, in a line; data sets have thousands of scenes."""
    sizes = [(lesson.name, len(lesson), len(lesson.taught)) for lesson in lessons]
    points, taught = sum(size[1] for size in sizes), sum(size[2] for size in sizes)
    return f"{len(sizes)} of {points:,} points, {taught:,} taught, {content_key({'sizes': str(sizes)})[:12]}"


def _fresh_student(lessons: Sequence[Lesson], settings: TrainingSettings, objective: MakeObjective) -> Student:
    in_channels, out_channels = lessons[0].geometric_channels, lessons[0].semantic_channels
    semantic_mean = mean_unit_target(lessons).to(torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        adapter = Adapter(in_channels, out_channels, settings.hidden_channels)
        heads = objective(in_channels, out_channels, semantic_mean)
    adapter.set_input_statistics(*feature_statistics(lessons))
    centre = heads.semantic_mean
    if centre is not None:
        adapter.semantic_mean.copy_(centre)
    return Student(adapter, heads)
