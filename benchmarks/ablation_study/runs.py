"""One training of the ablation and what it is worth on the rooms that it did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ablation_study.guidance import masks_of, superpoints_of
from ablation_study.rooms import RoomData
from ablation_study.rows import Row, ShuffledGeometry, WholeNetwork
from ablation_study.teachers import category_words
from ablation_study.whole_network import train_whole
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
        points: of a step, shared by its rooms.
        scenes: rooms of a step.
        rooms_key: tells these rooms from others.
    """

    steps: int
    points: int
    scenes: int
    rooms_key: str


@dataclass(frozen=True)
class Case:
    """A row, the rooms that it is trained, chosen and judged on, and its course."""

    row: Row
    rooms: Rooms
    course: Course


@dataclass(frozen=True)
class Run:
    """One training: a row, and what the search and the seeds vary."""

    row: Row
    learning_rate: float
    factor: float
    seed: int
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    """What was trained.

    Args:
        encode: room → (N, C) features of its points.
        mean: (C,) mean unit vector of the teacher.
    """

    encode: Callable[[RoomData], Tensor]
    mean: Tensor


@dataclass(frozen=True)
class Judged:
    """Counts of predicted against true categories, (R, K + 1, K) int64 for R rooms, by split.

    Args:
        raw: by the cosine of features and words.
        centred: of both as seen from the teacher's mean.
    """

    raw: dict[str, Tensor]
    centred: dict[str, Tensor]


_cases: Mapping[str, Case] = {}  # of a worker, which inherits them: rooms are large, and sending them takes handles


def run_all(runs: Sequence[tuple[str, Run]], cases: Mapping[str, Case], folder: Path, workers: int) -> list[Judged]:
    """Returns what each run of a case is worth; those that the folder has are not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    with get_context("fork").Pool(workers, _begin, (cases,)) as pool:
        found = pool.imap(partial(_judged, folder), runs)
        return list(tqdm(found, total=len(runs), desc="trainings", unit="run", smoothing=0))


def _begin(cases: Mapping[str, Case]) -> None:
    global _cases
    _cases = cases
    torch.set_num_threads(1)


def _judged(folder: Path, named: tuple[str, Run]) -> Judged:
    case, run = _cases[named[0]], named[1]
    path = folder / f"{content_key({'run': repr(run), 'course': repr(case.course)})[:24]}.pt"
    if not path.is_file():
        words = category_words()
        encoder = _trained(run, case, words)
        content = asdict(judge(encoder, {split: case.rooms[split] for split in run.splits}, words))
        with atomic_file(path) as temporary:
            torch.save(content, temporary)
    return Judged(**torch.load(path, weights_only=True))


def _trained(run: Run, case: Case, words: Tensor) -> Encoder:
    rooms, course = case.rooms["train"], case.course
    lessons = [lesson_of(run.row, room, words) for room in rooms]
    kind = ShuffledGeometry if run.row.shuffled_geometry else Objective
    settings = TrainingSettings(
        steps=course.steps,
        points_per_step=course.points,
        scenes_per_step=course.scenes,
        learning_rate=run.learning_rate,
        seed=run.seed,
        precision="bf16",
        drawn=run.row.drawn,
        average=0.98,
    )
    make = partial(kind, run.row.scaled(run.factor))
    mean = mean_unit_target(lessons).to(torch.float32)
    if isinstance(run.row, WholeNetwork):
        network = train_whole(lessons, rooms, settings, make, run.row.start)
        return Encoder(network.encode, mean)
    adapter = distill(lessons, settings, make).adapter
    return Encoder(lambda room: adapter(room.features.to(torch.float32)), mean)


def lesson_of(row: Row, room: RoomData, words: Tensor) -> Lesson:
    """Returns what a row learns from a room."""
    if row.true_words:
        everywhere = torch.arange(len(room.labels))
        return Lesson(room.name, room.features, everywhere, words[room.labels].to(torch.float16))
    taught = room.seen.nonzero().squeeze(1)
    superpoints = None if row.superpoints is None else superpoints_of(room, row.superpoints)
    masks = None if row.masks is None else masks_of(room, row.masks)
    return Lesson(room.name, room.features, taught, room.targets[taught], superpoints, masks)


@torch.no_grad()
def judge(encoder: Encoder, rooms: Rooms, words: Tensor) -> Judged:
    """Returns how what was trained answers the words of the categories."""
    mean = encoder.mean
    said = {split: [encoder.encode(room) for room in some] for split, some in rooms.items()}
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
