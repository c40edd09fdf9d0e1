"""One training of the ablation and what it is worth on the rooms that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ablation_study.rooms import RoomData, shuffled_masks
from ablation_study.rows import Row, ShuffledGeometry
from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.distill import TrainingSettings, distill
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.objective import Objective
from geoguide3d.distillation.statistics import mean_unit_target
from geoguide3d.evaluation.confusion import ConfusionMatrix
from geoguide3d.evaluation.open_vocabulary import nearest_class
from geoguide3d.losses.centring import centred
from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.cache import content_key

Rooms = Mapping[str, Sequence[RoomData]]


@dataclass(frozen=True)
class Course:
    """What all trainings share.

    Args:
        steps: optimiser steps.
        points: of a step, of one room.
        rooms_key: tells these rooms from others.
    """

    steps: int
    points: int
    rooms_key: str


@dataclass(frozen=True)
class Run:
    """One training: a row, and what the search and the seeds vary."""

    row: Row
    learning_rate: float
    factor: float
    seed: int
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """Counts of predicted against true categories, (R, K + 1, K) int64 for R rooms, by split.

    Args:
        raw: by the cosine of features and words.
        centred: of both as seen from the teacher's mean.
    """

    raw: dict[str, Tensor]
    centred: dict[str, Tensor]


def run_all(
    runs: Sequence[Run], rooms: Rooms, words: Tensor, course: Course, folder: Path, workers: int
) -> list[Judged]:
    """Returns what each run is worth; those that the folder has are not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    with get_context("fork").Pool(workers, _one_thread) as pool:
        work = partial(_judged, rooms, words, course, folder)
        return list(tqdm(pool.imap(work, runs), total=len(runs), desc="trainings", unit="run", smoothing=0))


def _one_thread() -> None:
    torch.set_num_threads(1)


def _judged(rooms: Rooms, words: Tensor, course: Course, folder: Path, run: Run) -> Judged:
    path = folder / f"{content_key({'run': repr(run), 'course': repr(course)})[:24]}.pt"
    if not path.is_file():
        adapter = _trained(run, rooms["train"], words, course)
        content = asdict(judge(adapter, {split: rooms[split] for split in run.splits}, words))
        with atomic_file(path) as temporary:
            torch.save(content, temporary)
    return Judged(**torch.load(path, weights_only=True))


def _trained(run: Run, rooms: Sequence[RoomData], words: Tensor, course: Course) -> Adapter:
    lessons = [_lesson(run.row, room, words) for room in rooms]
    kind = ShuffledGeometry if run.row.shuffled_geometry else Objective
    settings = TrainingSettings(
        steps=course.steps,
        points_per_step=course.points,
        learning_rate=run.learning_rate,
        seed=run.seed,
        precision="bf16",
        average=0.98,
    )
    trained = distill(lessons, settings, partial(kind, run.row.scaled(run.factor)))
    trained.adapter.semantic_mean.copy_(mean_unit_target(lessons))
    return trained.adapter


def _lesson(row: Row, room: RoomData, words: Tensor) -> Lesson:
    masks = None
    if row.masks is not None:
        masks = room.masks["proposer" if row.masks == "shuffled" else row.masks]
        if row.masks == "shuffled":
            masks = shuffled_masks(room, masks, seed=0)
    if row.true_words:
        everywhere = torch.arange(len(room.labels))
        return Lesson(room.name, room.features, everywhere, words[room.labels].to(torch.float16))
    return room.lesson(row.superpoints, masks)


@torch.no_grad()
def judge(adapter: Adapter, rooms: Rooms, words: Tensor) -> Judged:
    """Returns how an adapter's features answer the words of the categories."""
    mean = adapter.semantic_mean
    said = {split: [adapter(room.features.to(torch.float32)) for room in some] for split, some in rooms.items()}
    labels = {split: [room.labels for room in some] for split, some in rooms.items()}
    return Judged(
        {split: counts(rows, labels[split], words) for split, rows in said.items()},
        {
            split: counts([centred(row, mean) for row in rows], labels[split], centred(words, mean))
            for split, rows in said.items()
        },
    )


def counts(
    features: Sequence[Tensor], labels: Sequence[Tensor], words: Tensor, known: Sequence[Tensor] | None = None
) -> Tensor:
    """Returns (R, K + 1, K) counts of predicted against true categories, room by room."""
    matrices = []
    for i, (rows, truth) in enumerate(zip(features, labels, strict=True)):
        matrix = ConfusionMatrix(len(words))
        matrix.add(nearest_class(rows, words, None if known is None else known[i]), truth)
        matrices.append(matrix.counts)
    return torch.stack(matrices)
