"""TrainingLog: means per line, lines of a resumed run, and what it says where it cannot write."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from geoguide3d.training.log import TrainingLog


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_means_of_the_steps_that_have_the_term(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    log = TrainingLog(path, every=2)
    log.restart()
    steps = [{"loss": 1.0}, {"loss": 3.0, "imr": 5.0}, {"loss": 4.0}]
    for step, terms in enumerate(steps, start=1):
        log.add(step, terms, rate=0.5, last=step == 3)
    expected = [
        {"step": 2, "loss": 2.0, "imr": 5.0, "learning_rate": 0.5},
        {"step": 3, "loss": 4.0, "learning_rate": 0.5},
    ]
    assert log.entries == lines(path) == expected


def test_a_resumed_log_forgets_what_came_after_its_state(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    log = TrainingLog(path, every=2)
    log.restart()
    for step in (1, 2, 3):
        log.add(step, {"loss": float(step)}, rate=0.5, last=False)
    state = json.loads(json.dumps(log.state_dict()))
    log.add(4, {"loss": 4.0}, rate=0.5, last=False)
    path.write_text(path.read_text() + '{"step": 5, "lo')
    again = TrainingLog(path, every=2)
    again.restart(3, state)
    assert [line["step"] for line in lines(path)] == [2]
    again.add(4, {"loss": 5.0}, rate=0.5, last=False)
    assert lines(path)[-1] == {"step": 4, "loss": 4.0, "learning_rate": 0.5}  # the mean of steps 3 and 4


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "training.jsonl")
    (tmp_path / "training.jsonl").mkdir()
    with pytest.raises(OSError, match=r"training\.jsonl: cannot be written .*; free space and start again"):
        log.write({"step": 1})


def test_a_missing_tensorboard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if "tensorboard" in name:
            raise ModuleNotFoundError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'geoguide3d\[tensorboard\]'"):
        TrainingLog(None, tensorboard=tmp_path).restart()
