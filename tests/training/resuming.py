"""What every trainer owes: a run that was stopped and resumed ends where an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from geoguide3d.training.log import Entry
from geoguide3d.training.run_folder import RunFolder
from geoguide3d.training.trainer import Trainer, train


def assert_resumes(make: Callable[[], Trainer[Any]], stop_after: int, folder: Path) -> None:
    """Compares two fresh trainers of one schedule with a checkpoint before stop_after: one is stopped and resumed."""
    whole = make()
    whole_log = train(whole, None)

    stopped = make()
    step = stopped.step

    def stops() -> Entry:
        if stopped.step_count == stop_after:
            raise KeyboardInterrupt
        return step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopped, "step", stops)
        with pytest.raises(KeyboardInterrupt):
            train(stopped, RunFolder(folder))
    assert RunFolder(folder).checkpoint.is_file()
    resumed = make()
    assert train(resumed, RunFolder(folder)) == whole_log

    assert resumed.step_count == whole.schedule.steps > stop_after
    for kept in ("model", "averaged"):
        for name, value in whole.state_dict()[kept].items():
            assert torch.equal(value, resumed.state_dict()[kept][name]), name


def assert_command_resumes(
    main: Callable[[Sequence[str]], int],
    trainer: type[Trainer[Any]],
    words: Sequence[str],
    weights: str,
    folder: Path,
) -> None:
    """Compares what a command writes in one go with what it writes after Ctrl-C at step 3 of 4 and a second start."""
    whole, stopped = folder / "whole", folder / "stopped"
    words = [*words, "--training.checkpoint-steps", "2", "--training.steps", "4"]
    main(["--output", str(whole), *words])
    step = trainer.step

    def stops(self: Trainer[Any]) -> Entry:
        if self.step_count == 3:
            raise KeyboardInterrupt
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "step", stops)
        with pytest.raises(KeyboardInterrupt):
            main(["--output", str(stopped), *words])
    assert (stopped / "checkpoint.pt").is_file()
    assert not (stopped / weights).exists()
    main(["--output", str(stopped), *words])
    assert (whole / weights).read_bytes() == (stopped / weights).read_bytes()
