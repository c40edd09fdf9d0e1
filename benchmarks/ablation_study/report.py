"""The tables of the ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine import this_machine
from torch import Tensor

from ablation_study.rooms import Plan, RoomData
from ablation_study.runs import Course, Judged, Run, counts
from ablation_study.scores import difference, mean_accuracy, mean_iou
from geoguide3d.ops import segment_mean
from geoguide3d.store.atomic import atomic_file

COMPARED = [
    ("full", "plain"),
    ("full", "plain, centred"),
    ("full", "superpoints, centred"),
    ("full", "full - USD"),
    ("full", "full - IMR"),
    ("full", "full - IIRC"),
    ("full", "control: full, IIRC on shuffled geometry"),
    ("full", "control: full, IMR on shuffled masks"),
    ("full, paper", "plain"),
    ("superpoints (SAS)", "plain"),
]


@dataclass(frozen=True)
class Report:
    """What was run and found: rows by name."""

    plan: Plan
    course: Course
    chosen: Mapping[str, tuple[Run, str]]
    results: Mapping[str, Sequence[Judged]]
    test: Sequence[RoomData]
    words: Tensor

    def of(self, name: str) -> Tensor:
        """Returns (S, R, K + 1, K) counts of a row, compared in the way that its search chose."""
        way = self.chosen[name][1]
        return torch.stack([getattr(judged, way)["test"] for judged in self.results[name]])


def print_report(report: Report) -> None:
    """Prints the tables."""
    print("\n".join(_lines(report)))


def write_report(report: Report, path: Path) -> None:
    """Writes the page; what stands above its first table is kept."""
    marker = "<!-- tables below are written by benchmarks/ablation.py -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Ablation\n\n"
    head = text.split(marker)[0]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join([head + marker, "", *_lines(report), ""]), encoding="utf-8")


def _lines(report: Report) -> list[str]:
    machine = ", ".join(f"{name} {value}" for name, value in asdict(this_machine()).items())
    plan, course = report.plan, report.course
    return [
        f"{plan.train} rooms to learn from, {plan.validation} to choose by, {plan.test} to be judged by; "
        f"{course.steps} steps of {course.points} points; {machine}.",
        "",
        *_scores(report),
        "",
        *_differences(report),
    ]


def _scores(report: Report) -> list[str]:
    lines = ["| row | mIoU, raw | mIoU, centred | mAcc | rate, factor, compared |", "|---|---|---|---|---|"]
    for name, found in _without_training(report).items():
        lines.append(f"| {name} | {100 * mean_iou(found):.1f} | – | {100 * mean_accuracy(found):.1f} | – |")
    for name, judged in report.results.items():
        run, way = report.chosen[name]
        cells = [_spread([100 * mean_iou(getattr(one, kind)["test"]) for one in judged]) for kind in ("raw", "centred")]
        accuracy = _spread([100 * mean_accuracy(getattr(one, way)["test"]) for one in judged])
        lines.append(f"| {name} | {' | '.join(cells)} | {accuracy} | {run.learning_rate:g}, {run.factor:g}, {way} |")
    return lines


def _without_training(report: Report) -> dict[str, Tensor]:
    """Returns the counts of the teacher itself, which needs images: by point, and pooled over superpoints."""
    labels = [room.labels for room in report.test]
    fused = [room.targets.to(torch.float32) for room in report.test]
    pooled = []
    for room, rows in zip(report.test, fused, strict=True):
        ids, seen = room.superpoints["standard"], room.seen
        means = segment_mean(rows[seen], ids[seen], int(ids.max()) + 1)
        pooled.append(means[ids])
    some = [rows.abs().amax(dim=1) > 0 for rows in pooled]
    return {
        "fused 2D features, with images": counts(fused, labels, report.words, [room.seen for room in report.test]),
        "the same, pooled over superpoints": counts(pooled, labels, report.words, some),
    }


def _differences(report: Report) -> list[str]:
    lines = ["| difference of mIoU | points | 95 % interval |", "|---|---|---|"]
    for first, second in COMPARED:
        if first in report.results and second in report.results:
            mean, low, high = (100 * value for value in difference(report.of(first), report.of(second)))
            lines.append(f"| {first} − {second} | {mean:+.1f} | {low:+.1f} … {high:+.1f} |")
    return lines


def _spread(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {deviation:.1f}"
