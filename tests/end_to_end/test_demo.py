"""The demo, small: every stage runs and says what it found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geoguide3d.cli import demo


def test_small_demo_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--train-rooms", "2", "--test-rooms", "1", "--views", "12", "--steps", "60"]
    assert demo.main(["--output", str(tmp_path / "demo"), *words]) == 0
    printed = capsys.readouterr().out
    measured = re.findall(r"\([abc]\) .*?(\d+\.\d) %", printed)
    assert len(measured) == 3
    assert float(measured[0]) > 100 / 32  # better than one guess among the categories
    change = re.search(r"instead of these alone: mIoU ([+-]\d+\.\d) points", printed)
    assert change is not None
    assert float(change[1]) == pytest.approx(float(measured[1]) - float(measured[2]), abs=0.11)
    assert printed.count("IoU with the truth") == 5
    paths = [Path(line.strip()) for line in printed.partition("Look at:")[2].strip().splitlines()]
    assert len(paths) == 5
    assert all(path.exists() for path in paths)


def test_demo_refuses_no_rooms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        demo.main(["--output", str(tmp_path / "demo"), "--test-rooms", "0"])
    assert stop.value.code == 2
    assert "test_rooms" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
