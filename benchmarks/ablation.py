"""What each part of GeoGuide brings: an ablation on procedural rooms whose furniture no part of it has seen.

Rooms to learn from, to choose by and to be judged by are disjoint; each has shapes of its own, and those to be judged
by layouts and textures of their own too. Every row has the same rooms, frozen features, steps and schedule, and as many
trials in a search over learning rate and, where it has them, weights of imr and iirc, by mIoU on the validation rooms.
Then it is trained with each seed and judged on the test rooms. Everything finished is kept in --output: a run that was
stopped goes on.

  python benchmarks/ablation.py --report docs/ablation.md     # an hour on 2 cores, rooms included
  python benchmarks/ablation.py --study masks --report docs/ablation.md  # and the other studies
  python benchmarks/ablation.py --teacher simulated --report docs/ablation.md     # and a curve beside the page
  python benchmarks/ablation.py --train 4 --test 4 --steps 20 --seeds 1   # a minute, to see that it runs
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

import torch
from ablation_study.cost import cost_lines
from ablation_study.curve import curve_lines, curves, draw_curves
from ablation_study.report import Report, write_part
from ablation_study.rooms import Plan
from ablation_study.search import search_and_judge
from ablation_study.studies import STUDIES, Setting, simulated

from geoguide3d.ops.allocator import keep_freed_memory


def main() -> None:
    options = _options()
    keep_freed_memory()
    plan = Plan(options.train, options.validation, options.test)
    setting = Setting(plan, options.steps, options.points, options.scenes, options.output, options.workers)
    lines = cost_lines(setting) if options.study == "cost" else _study_lines(options, setting)
    print("\n".join(lines))
    if options.report:
        write_part(options.report, options.study if options.teacher == "room_clip" else options.teacher, lines)


def _study_lines(options: argparse.Namespace, setting: Setting) -> list[str]:
    """Returns a study's part of the page, and draws the curve where there is one."""
    is_simulated = options.teacher == "simulated"
    study = simulated(setting, options.strengths) if is_simulated else STUDIES[options.study](setting)
    if options.rows:
        study = replace(study, cases={name: study.cases[name] for name in options.rows})
    results = search_and_judge(study.cases, options.seeds, options.output / "runs", options.workers)
    report = Report(setting, study, results)
    lines = report.lines()
    if is_simulated:
        lines += ["", *curve_lines(report, options.strengths)]
        picture = (options.report or options.output / "ablation").with_name("ablation_strength.png")
        draw_curves(picture, options.strengths, curves(report, options.strengths))
        lines += ["", f"![mIoU by strength]({picture.name})"]
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/ablation"), help="keeps rooms and runs")
    parser.add_argument("--report", type=Path, help="also write this Markdown page")
    parser.add_argument("--study", choices=(*STUDIES, "cost"), default="losses")
    parser.add_argument("--teacher", choices=("room_clip", "simulated"), default="room_clip")
    parser.add_argument("--strengths", type=float, nargs="+", default=(0.0, 0.25, 0.5, 0.75, 1.0))
    parser.add_argument("--rows", nargs="*", help="only these rows, by name")
    for name, default in (("train", 24), ("validation", 16), ("test", 24)):
        parser.add_argument(f"--{name}", type=int, default=default, help="rooms")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--points", type=int, default=4000, help="of a step, shared by its rooms")
    parser.add_argument("--scenes", type=int, default=4, help="rooms of a step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    if options.teacher == "simulated" and (options.study != "losses" or options.rows):
        parser.error(
            "--teacher simulated has rows of its own, plain and full by strength; leave out --study and --rows"
        )
    return options


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
