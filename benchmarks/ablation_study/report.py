"""The tables of the ablation, each a part of one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from machine import this_machine
from torch import Tensor

from ablation_study.runs import Rooms, counts
from ablation_study.scores import difference, mean_accuracy, mean_iou
from ablation_study.search import Found
from ablation_study.studies import Setting, Study
from ablation_study.teachers import category_words
from geoguide3d.ops import segment_mean
from geoguide3d.store.atomic import atomic_file


@dataclass(frozen=True)
class Report:
    """What was run and found.

    Args:
        setting: of all studies.
        study: whose rows these are.
        results: by name of the row.
    """

    setting: Setting
    study: Study
    results: Mapping[str, Found]

    def lines(self) -> list[str]:
        """Returns the study's part of the page."""
        plan, setting = self.setting.plan, self.setting
        return [
            f"## {self.study.title}",
            "",
            f"{plan.train} rooms to learn from, {plan.validation} to choose by, {plan.test} to be judged by; "
            f"{setting.steps} steps of {setting.points} points of {setting.scenes} rooms; {machine_line()}.",
            *(["", self.study.note] if self.study.note else []),
            "",
            *self._scores(),
            "",
            *self._differences(),
        ]

    def _scores(self) -> list[str]:
        lines = ["| row | mIoU, raw | mIoU, centred | mAcc | rate, factor, compared |", "|---|---|---|---|---|"]
        first, *others = (case.rooms for case in self.study.cases.values())
        is_shared = all(rooms is first for rooms in others)
        for name, counted in fused_alone(first).items() if is_shared else ():
            lines.append(f"| {name} | {100 * mean_iou(counted):.1f} | – | {100 * mean_accuracy(counted):.1f} | – |")
        for name, found in self.results.items():
            cells = [
                spread([100 * mean_iou(getattr(one, kind)["test"]) for one in found.judged])
                for kind in ("raw", "centred")
            ]
            accuracy = spread([100 * mean_accuracy(seed) for seed in found.counts])
            chosen = f"{found.trial.learning_rate:g}, {found.trial.factor:g}, {found.way}"
            lines.append(f"| {name} | {' | '.join(cells)} | {accuracy} | {chosen} |")
        return lines

    def _differences(self) -> list[str]:
        lines = ["| difference of mIoU | points | 95 % interval |", "|---|---|---|"]
        for first, second in self.study.compared:
            if first in self.results and second in self.results:
                mean, low, high = self.difference(first, second)
                lines.append(f"| {first} − {second} | {mean:+.1f} | {low:+.1f} … {high:+.1f} |")
        return lines

    def difference(self, first: str, second: str) -> tuple[float, float, float]:
        """Returns the difference of two rows in points, and its interval."""
        mean, low, high = difference(self.results[first].counts, self.results[second].counts)
        return 100 * mean, 100 * low, 100 * high


def write_part(path: Path, name: str, lines: Sequence[str]) -> None:
    """Writes one part of a page between its marks; what stands around it is kept, a new part comes last."""
    start, end = f"<!-- {name}: written by benchmarks/ablation.py -->", f"<!-- end of {name} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Ablation\n"
    part = "\n".join([start, *lines, end])
    if start in text:
        before, rest = text.split(start, 1)
        text = before + part + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{part}\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fused_alone(rooms: Rooms) -> dict[str, Tensor]:
    """Returns the counts of the teacher itself, which needs images, on the test rooms: by point, and pooled."""
    test, words = rooms["test"], category_words()
    labels = [room.labels for room in test]
    fused = [room.targets.float() for room in test]
    pooled = []
    for room, rows in zip(test, fused, strict=True):
        ids, seen = room.superpoints["standard"], room.seen
        means = segment_mean(rows[seen], ids[seen], int(ids.max()) + 1)
        pooled.append(means[ids])
    some = [rows.abs().amax(dim=1) > 0 for rows in pooled]
    return {
        "fused 2D features, with images": counts(fused, labels, words, [room.seen for room in test]),
        "the same, pooled over superpoints": counts(pooled, labels, words, some),
    }


def machine_line() -> str:
    """Returns what this was measured on, in words."""
    return ", ".join(f"{name} {value}" for name, value in asdict(this_machine()).items())


def spread(values: Sequence[float]) -> str:
    """Returns mean ± standard deviation; of one value, the value."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {deviation:.1f}"
