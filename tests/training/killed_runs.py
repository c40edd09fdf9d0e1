"""Trains in children that are killed at moments named on the command line: FOLDER MOMENT [MOMENT …].

Each child trains in FOLDER/MOMENT. The parent forks before torch starts a thread, so that one import serves all.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoguide3d.distillation.distill import DistillationTrainer, distill
from geoguide3d.training import trainer
from geoguide3d.training.log import TrainingLog
from geoguide3d.training.run_folder import open_run
from tests.distillation.lessons import SETTINGS, ScaledObjective, three_lessons

RUN = replace(SETTINGS, steps=40, checkpoint_steps=8, log_every=3, scenes_per_step=2, warm_up=4)
STOP_STEP = 20  # between the checkpoints of steps 16 and 24


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_step() -> None:
    terms = DistillationTrainer.terms

    def dies(self: DistillationTrainer, part: int) -> Any:
        if self.step_count == STOP_STEP and part == 1:
            die()
        return terms(self, part)

    DistillationTrainer.terms = dies  # type: ignore[method-assign]


def in_a_checkpoint() -> None:
    write = Path.write_bytes

    def dies(self: Path, data: Any) -> int:
        content = bytes(data)
        if self.name.startswith(".checkpoint") and len(list(self.parent.glob("checkpoint.pt"))):
            write(self, content[: len(content) // 2])
            die()
        return write(self, content)

    Path.write_bytes = dies  # type: ignore[method-assign, assignment]


def after_a_log_line() -> None:
    write = TrainingLog.write

    def dies(self: TrainingLog, entry: dict[str, float]) -> None:
        write(self, entry)
        if entry["step"] == STOP_STEP + 1:
            with Path(self._path or "").open("a") as file:
                file.write('{"step": 24, "lo')
            die()

    TrainingLog.write = dies  # type: ignore[method-assign]


def after_a_checkpoint() -> None:
    write = trainer.write_checkpoint

    def dies(path: Path, state: Any) -> None:
        write(path, state)
        if state["step"] == RUN.checkpoint_steps:
            die()

    trainer.write_checkpoint = dies


def full_disk() -> None:
    """No file may grow beyond a half of what the checkpoint of step 8 takes, from step 20 on."""
    import resource

    step = DistillationTrainer.step

    def limited(self: DistillationTrainer) -> Any:
        if self.step_count == STOP_STEP:
            size = next(Path(sys.argv[1]).glob("full_disk/checkpoint.pt")).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
        return step(self)

    DistillationTrainer.step = limited  # type: ignore[method-assign]


MOMENTS: dict[str, Callable[[], None]] = {
    "in_a_step": in_a_step,
    "in_a_checkpoint": in_a_checkpoint,
    "after_a_log_line": after_a_log_line,
    "after_a_checkpoint": after_a_checkpoint,
    "full_disk": full_disk,
}


def main(folder: Path, moments: list[str]) -> None:
    for moment in moments:
        child = os.fork()
        if child == 0:
            if moment in MOMENTS:
                MOMENTS[moment]()
            try:
                lessons = three_lessons()
                with open_run(folder / moment, trainer.Processes()) as run:
                    distill(lessons, RUN, ScaledObjective, run)
            except OSError as error:
                print(error, flush=True)
                os._exit(2)
            os._exit(0)
        if moment.startswith("later_"):
            checkpoint = folder / moment / "checkpoint.pt"
            while not checkpoint.is_file():
                time.sleep(0.001)
            time.sleep(float(moment.removeprefix("later_")))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        print(f"{moment}: {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
