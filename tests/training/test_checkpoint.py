"""Checkpoints: what they hold comes back, and what does not fit is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from geoguide3d.store.atomic import atomic_file, remove_leftovers
from geoguide3d.training.checkpoint import named_settings, read_checkpoint, write_checkpoint


@dataclass(frozen=True)
class Inner:
    """Some settings."""

    side_m: tuple[float, float] = (1.0, 2.0)


@dataclass(frozen=True)
class Outer:
    """Settings that hold others."""

    steps: int = 3
    kind: str = "adamw"
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)


SETTINGS = named_settings(Outer())


def test_settings_are_named_with_dots() -> None:
    assert SETTINGS == {"steps": "3", "kind": '"adamw"', "folder": "null", "inner.side_m": "[1.0, 2.0]"}
    assert named_settings(Outer(folder=Path("a")))["folder"] == '"a"'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state = {"step": 4, "settings": SETTINGS, "model": {"weight": torch.arange(3.0)}, "log": [{"step": 2, "loss": 0.5}]}
    write_checkpoint(tmp_path / "checkpoint.pt", state)
    read = read_checkpoint(tmp_path / "checkpoint.pt", SETTINGS)
    assert torch.equal(read.pop("model")["weight"], torch.arange(3.0))
    assert read == {name: value for name, value in state.items() if name != "model"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Outer(steps=4), "was written with steps = 3, now it is 4"),
        (Outer(inner=Inner((1.0, 3.0))), r"was written with inner.side_m = \[1.0, 2.0\], now it is \[1.0, 3.0\]"),
        (Inner(), r"was written with folder = null, now it is absent"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, settings: Outer | Inner, message: str) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"step": 4, "settings": SETTINGS})
    with pytest.raises(ValueError, match=message) as caught:
        read_checkpoint(path, named_settings(settings))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_setting_that_the_checkpoint_does_not_know_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint.pt", {"step": 4, "settings": {"steps": "3", "kind": '"adamw"'}})
    with pytest.raises(ValueError, match="was written with folder = absent, now it is null"):
        read_checkpoint(tmp_path / "checkpoint.pt", SETTINGS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"text"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: no checkpoint of this version .* remove it to start anew"):
        read_checkpoint(path, SETTINGS)
    torch.save({"step": 3}, path)  # of before checkpoints held their settings
    with pytest.raises(ValueError, match=r"no checkpoint of this version \('settings'\)"):
        read_checkpoint(path, SETTINGS)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "checkpoint.pt"
    with pytest.raises(OSError, match=r"the checkpoint of step 4 could not be written .*; there is none of before"):
        write_checkpoint(path, {"step": 4, "settings": SETTINGS})


def test_only_temporary_files_of_that_name_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.pt"
    with atomic_file(target) as temporary:
        left = temporary.rename(temporary)
        kept = [tmp_path / name for name in ("checkpoint.pt", ".checkpoint.pt", ".other.abcdefgh.pt")]
        for path in kept:
            path.touch()
        remove_leftovers(target)
        assert not left.exists()
        assert sorted(tmp_path.iterdir()) == sorted(kept)
        temporary.touch()
