"""What each part of GeoGuide brings: an ablation on procedural rooms whose furniture no part of it has seen.

Rooms to learn from, to choose by and to be judged by are disjoint; shapes, layouts and textures of the last occur
nowhere else. Every row has the same rooms, frozen features, steps and schedule, and as many trials in a search over
learning rate and, where it has them, weights of imr and iirc, by mIoU on the validation rooms. Then it is trained with
each seed and judged on the test rooms. Everything finished is kept in --output: a run that was stopped goes on.

  python benchmarks/ablation.py --report docs/ablation.md     # an hour on 2 cores, rooms included
  python benchmarks/ablation.py --train 4 --test 4 --steps 20 --seeds 1   # a minute, to see that it runs
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

import torch
from ablation_study.report import Report, print_report, write_report
from ablation_study.rooms import Plan, prepare
from ablation_study.rows import ROWS, Row
from ablation_study.runs import Course, Judged, Run, run_all
from ablation_study.scores import mean_iou

from geoguide3d.encoders.prompts import class_prompt
from geoguide3d.encoders.room_clip import RoomClipTextEncoder
from geoguide3d.ops.allocator import keep_freed_memory
from geoguide3d.scenes.rooms import CATEGORIES

RATES = (5e-4, 1e-3, 2e-3, 4e-3)
RATES_AND_FACTORS = tuple(product((1e-3, 2e-3), (0.5, 2.0)))


def trials(row: Row, seed: int) -> list[Run]:
    """Returns the search of a row: as many trainings for each."""
    grid = RATES_AND_FACTORS if row.is_scaled else tuple((rate, 1.0) for rate in RATES)
    return [Run(row, rate, factor, seed, ("validation",)) for rate, factor in grid]


def main() -> None:
    options = _options()
    keep_freed_memory()
    plan = Plan(options.train, options.validation, options.test)
    rooms = prepare(options.output / "rooms", plan, options.workers)
    words = RoomClipTextEncoder.load().encode_text([class_prompt(name, "a {}") for name in CATEGORIES])
    course = Course(options.steps, options.points, repr(plan))
    rows = {name: row for name, row in ROWS.items() if not options.rows or name in options.rows}

    def judged(runs: list[Run]) -> list[Judged]:
        return run_all(runs, rooms, words, course, options.output / "runs", options.workers)

    searched = [run for row in rows.values() for run in trials(row, seed=0)]
    by_row = _grouped(judged(searched), len(rows))
    chosen = {}
    for (name, row), found in zip(rows.items(), by_row, strict=True):
        scores = [_validated(one) for one in found]
        best = max(range(len(scores)), key=lambda i: scores[i][1])
        trial = trials(row, seed=0)[best]
        chosen[name] = (trial, scores[best][0])
    final = [
        Run(trial.row, trial.learning_rate, trial.factor, seed, ("test",))
        for trial, _ in chosen.values()
        for seed in range(options.seeds)
    ]
    results = dict(zip(rows, _grouped(judged(final), len(rows)), strict=True))
    report = Report(plan, course, chosen, results, rooms["test"], words)
    print_report(report)
    if options.report:
        write_report(report, options.report)


def _validated(judged: Judged) -> tuple[str, float]:
    """Returns the way of comparing that suits the validation rooms best, and its mIoU there."""
    ways = {"raw": judged.raw, "centred": judged.centred}
    return max(((way, mean_iou(split["validation"])) for way, split in ways.items()), key=lambda pair: pair[1])


def _grouped(found: list[Judged], groups: int) -> list[list[Judged]]:
    size = len(found) // groups
    return [found[start : start + size] for start in range(0, len(found), size)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/ablation"), help="keeps rooms and runs")
    parser.add_argument("--report", type=Path, help="also write this Markdown page")
    parser.add_argument("--rows", nargs="*", help="only these rows, by name")
    for name, default in (("train", 24), ("validation", 8), ("test", 24), ("steps", 400), ("points", 4000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
