"""Plain cosine distillation: the adapter learns to say about geometry what images say about the same points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import trange

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.losses.cosine import cosine_distance

_ROWS_AT_ONCE = 16_384
_CHECKED_POINTS = 50_000  # of all scenes together, for the final cosine


@dataclass(frozen=True)
class TrainingSettings:
    """How the adapter is trained.

    Args:
        steps: optimiser steps.
        points_per_step: points drawn with replacement from all scenes for each step.
        learning_rate: of Adam at the start; it falls to 0 along half a cosine.
        hidden_channels: width of the adapter.
        seed: of the adapter's weights and of the drawn points.
        log_every: steps between two lines of the training log.

    Raises:
        ValueError: a number that must be positive is not.
    """

    steps: int = 1000
    points_per_step: int = 20_000
    learning_rate: float = 1e-3
    hidden_channels: int = 768
    seed: int = 0
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "points_per_step", "learning_rate", "hidden_channels", "log_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Distilled:
    """A trained adapter and how its training went.

    Args:
        adapter: in eval mode.
        log: one entry per `log_every` steps: step, loss (mean since the entry before), learning_rate.
        final_cosine: mean cosine with the targets after training, over points spread evenly over all lessons.
    """

    adapter: Adapter
    log: list[dict[str, float]]
    final_cosine: float


def distill(lessons: Sequence[Lesson], settings: TrainingSettings) -> Distilled:
    """Trains an adapter on the lessons by mean(1 − cos) over points drawn from all of them.

    The same lessons, settings, torch and number of threads give the same bytes on a CPU.

    Raises:
        ValueError: no lessons, or lessons of different widths.
    """
    widths = {(lesson.features.shape[1], lesson.targets.shape[1]) for lesson in lessons}
    if len(widths) != 1:
        raise ValueError(f"lessons must share their widths (G, C) and there must be one, got {sorted(widths)}")
    (in_channels, out_channels) = widths.pop()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        adapter = Adapter(in_channels, out_channels, settings.hidden_channels)
    adapter.set_input_statistics(*_statistics(lessons))
    log = _train(adapter, lessons, settings)
    return Distilled(adapter.eval(), log, _mean_cosine(adapter, lessons))


def _train(adapter: Adapter, lessons: Sequence[Lesson], settings: TrainingSettings) -> list[dict[str, float]]:
    optimizer = torch.optim.Adam(adapter.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    generator = torch.Generator().manual_seed(settings.seed)
    log: list[dict[str, float]] = []
    losses: list[float] = []
    progress = trange(1, settings.steps + 1, desc="distil", unit="step", disable=None)
    for step in progress:
        features, targets = _draw(lessons, settings.points_per_step, generator)
        loss = cosine_distance(adapter(features), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % settings.log_every == 0 or step == settings.steps:
            log.append({"step": step, "loss": math.fsum(losses) / len(losses), "learning_rate": rate})
            losses.clear()
            progress.set_postfix(loss=f"{log[-1]['loss']:.4f}")
    return log


def _draw(lessons: Sequence[Lesson], count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns (count, G) features and (count, C) float32 targets of points drawn evenly from all lessons."""
    ends = torch.tensor([len(lesson) for lesson in lessons]).cumsum(0)
    drawn = torch.randint(int(ends[-1]), (count,), generator=generator).sort().values
    shares = torch.diff(torch.searchsorted(drawn, ends), prepend=ends.new_zeros(1)).tolist()
    features, targets, start = [], [], 0
    for lesson, rows in zip(lessons, torch.split(drawn, shares), strict=True):
        features.append(lesson.features[rows - start])
        targets.append(lesson.targets[rows - start])
        start += len(lesson)
    return torch.cat(features), torch.cat(targets).to(torch.float32)


def _statistics(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation (G,) of the features over all lessons."""
    count = sum(len(lesson) for lesson in lessons)
    mean = torch.stack([lesson.features.sum(dim=0, dtype=torch.float64) for lesson in lessons]).sum(dim=0) / count
    chunks = (chunk for lesson in lessons for chunk in torch.split(lesson.features, _ROWS_AT_ONCE))
    squares = [(chunk - mean).square().sum(dim=0) for chunk in chunks]
    return mean, (torch.stack(squares).sum(dim=0) / count).sqrt()


@torch.no_grad()
def _mean_cosine(adapter: Adapter, lessons: Sequence[Lesson]) -> float:
    step = max(1, sum(len(lesson) for lesson in lessons) // _CHECKED_POINTS)
    pairs = [(adapter(lesson.features[::step]), lesson.targets[::step].to(torch.float32)) for lesson in lessons]
    distances = torch.stack([cosine_distance(*pair) * len(pair[0]) for pair in pairs])
    return 1 - float(distances.sum()) / sum(len(pair[0]) for pair in pairs)
