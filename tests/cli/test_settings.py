"""Command lines of dataclasses: spelling of options, values, and what becomes of warnings and errors."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tqdm import tqdm

from geoguide3d.cli.settings import POSITIONAL, command, parse_settings


@dataclass(frozen=True)
class Inner:
    """Inner things.

    Args:
        cell_size_m: a length.
    """

    cell_size_m: float = 0.5


@dataclass(frozen=True)
class ExampleSettings:
    """Does something.

    Args:
        words: what to do it with.
        output_folder: where to.
        up: a direction.
        dry_run: only say what would be done.
        inner: nested.
    """

    words: tuple[str, ...] = field(metadata=POSITIONAL)
    output_folder: Path
    up: tuple[float, float, float] | None = None
    dry_run: bool = False
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("up", [["--up", "0,-1,0"], ["--up=-0.5,1e-3,2"], ["--up", "[0, 0, 1]"], []])
@pytest.mark.parametrize("cell", ["--inner.cell-size-m", "--inner.cell_size_m"])
def test_options_become_a_typed_object(up: list[str], cell: str) -> None:
    settings, _ = parse_settings(
        ExampleSettings, ["a chair", "b", "--output-folder", "out", cell, "2", "--dry-run", *up]
    )
    directions = {"0,-1,0": (0, -1, 0), "--up=-0.5,1e-3,2": (-0.5, 1e-3, 2), "[0, 0, 1]": (0, 0, 1)}
    expected = directions[up[-1]] if up else None
    assert settings == ExampleSettings(("a chair", "b"), Path("out"), expected, True, Inner(2.0))


def test_yaml_then_options_and_the_yaml_that_comes_out_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("inner: {cell_size_m: 3}\nup: [1, 0, 0]\noutput_folder: here\n")
    first, text = parse_settings(ExampleSettings, ["w", "--config", str(tmp_path / "a.yaml"), "--up", "0,1,0"])
    assert first == ExampleSettings(("w",), Path("here"), (0, 1, 0), False, Inner(3.0))
    (tmp_path / "b.yaml").write_text(text)
    assert parse_settings(ExampleSettings, ["w", "--config", str(tmp_path / "b.yaml")]) == (first, text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["w", "--output-folder", "x", "--inner.cel-size-m", "1"], "did you mean 'inner.cell_size_m'?"),
        (["w", "--output-folder", "x", "--dryrun"], "did you mean 'dry_run'?"),
        (["w", "--output-folder", "x", "--up", "1,2"], "up"),
        (["--output-folder", "x"], "required: words"),
    ],
)
def test_mistakes_end_with_one_line(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(ExampleSettings, words)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert line.startswith("geoguide3d example: ")
    assert expected in line


@pytest.mark.parametrize("error", [ValueError("bad\nvalue"), FileNotFoundError("bad value"), ImportError("bad value")])
def test_errors_of_users_are_one_line(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    with pytest.raises(SystemExit) as caught, command("geoguide3d example"):
        raise error
    assert caught.value.code == 2
    assert capsys.readouterr().err == "geoguide3d example: bad value\n"


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), command("geoguide3d example"):
        raise ZeroDivisionError
    with pytest.raises(ModuleNotFoundError), command("geoguide3d example"):
        import geoguide3d.no_such_module  # type: ignore[import-not-found]  # noqa: F401


def test_warnings_are_one_line_without_source(capsys: pytest.CaptureFixture[str]) -> None:
    with command("geoguide3d example"):
        warnings.warn("the word 'zyx' means nothing", stacklevel=1)
    assert capsys.readouterr().err == "warning: the word 'zyx' means nothing\n"


def test_log_lines_stand_above_progress_bars(capsys: pytest.CaptureFixture[str]) -> None:
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    root.addHandler(handler)
    try:
        with command("geoguide3d example"), tqdm(total=1, desc="bar", file=sys.stderr):
            logging.getLogger("geoguide3d").warning("told")
    finally:
        root.removeHandler(handler)
    before, told, _ = capsys.readouterr().err.partition("told\n")
    assert "bar" in before
    assert told
    assert before.endswith("\r")  # of the bar, which was cleared
