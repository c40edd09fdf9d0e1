"""geoguide3d <command>: finds commands, lists them, and helps with typing errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from geoguide3d.cli.__main__ import commands, main


def test_lists_every_command_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, line in commands().items():
        assert f"  {name} " in text
        assert line in text
    assert {"distill", "query"} <= set(commands())
    assert {"settings", "outputs", "distill_settings"}.isdisjoint(commands())


def test_without_a_command_it_lists_them_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distil"]) == 2
    assert capsys.readouterr().err == "geoguide3d: no command 'distil'; did you mean 'distill'?\n"


def test_module_runs_the_command() -> None:
    words = [sys.executable, "-m", "geoguide3d.cli", "query", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: geoguide3d query SCENE PROMPTS ... --model MODEL --output OUTPUT")
