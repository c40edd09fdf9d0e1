from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoguide3d.store.atomic import atomic_file, atomic_folder


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_whole_and_in_a_new_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.ply"
    with atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".ply"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names_in(target.parent) == ["out.ply"]


def test_file_replaces_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with atomic_file(str(target)) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failing_write_leaves_the_old_file_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["out.txt"]


def test_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    with atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("{}")
        assert not target.exists()
    assert names_in(target) == ["config.json"]
    assert names_in(target.parent) == ["model"]


def test_folder_replaces_all_of_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale.txt").touch()
    with atomic_folder(target) as temporary:
        (temporary / "fresh.txt").touch()
        assert names_in(target) == ["stale.txt"]
    assert names_in(target) == ["fresh.txt"]
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failing_write_leaves_the_old_folder_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").touch()

    def write_half() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "half.txt").touch()
            raise error

    with pytest.raises(error):
        write_half()
    assert names_in(target) == ["old.txt"]
    assert names_in(tmp_path) == ["model"]


def test_outputs_have_the_modes_of_ordinary_files(tmp_path: Path) -> None:
    # mkstemp and mkdtemp make private files; a shared machine's other users must be able to read results.
    old = os.umask(0o022)
    try:
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.touch()
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
