"""What every trainer owes: a run that was stopped and resumed ends where an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from geoguide3d.training.trainer import Trainer, train


def assert_resumes(make: Callable[[], Trainer[Any]], stop_after: int, folder: Path) -> None:
    """Compares two fresh trainers of one schedule: one trains to its end, the other is stopped and resumed."""
    whole = make()
    train(whole, folder / "whole.pt")

    stopped = make()
    for _ in range(stop_after):
        stopped.step()
    torch.save(stopped.state_dict(), folder / "stopped.pt")
    resumed = make()
    train(resumed, folder / "stopped.pt")

    assert resumed.step_count == whole.schedule.steps > stop_after
    for kept in ("model", "averaged"):
        for name, value in whole.state_dict()[kept].items():
            assert torch.equal(value, resumed.state_dict()[kept][name]), name
