"""The demo, small: every stage runs and says what it found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geoguide3d.cli import demo


def test_small_demo_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--train-rooms", "2", "--test-rooms", "1", "--views", "12", "--steps", "30"]
    assert demo.main(["--output", str(tmp_path / "demo"), *words]) == 0
    printed = capsys.readouterr().out
    measured = [float(value) for value in re.findall(r"^ +\([abcd]\) .*?(\d+\.\d) %", printed, re.MULTILINE)]
    assert len(measured) == 4
    assert measured[0] > 100 / 32  # better than one guess among the categories
    changes = [float(value) for value in re.findall(r"instead of .*: mIoU ([+-]\d+\.\d) points", printed)]
    assert changes == pytest.approx([measured[1] - measured[2], measured[1] - measured[3]], abs=0.11)
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
