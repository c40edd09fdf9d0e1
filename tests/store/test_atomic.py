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


@pytest.mark.parametrize("kind", ["file", "link"])
def test_folder_does_not_replace_a_file_or_a_link(tmp_path: Path, kind: str) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    target.write_text("kept") if kind == "file" else target.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"is a {kind}"), atomic_folder(target):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "target"]


def test_folder_keeps_the_old_one_when_the_last_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    rename = Path.replace
    calls = []

    def failing_second_time(source: Path, destination: Path) -> None:
        calls.append(destination)
        if len(calls) == 2:
            raise OSError("disk")
        rename(source, destination)

    monkeypatch.setattr(Path, "replace", failing_second_time)
    with pytest.raises(OSError, match="disk"), atomic_folder(target) as folder:
        (folder / "new").touch()
    assert [path.name for path in target.iterdir()] == ["old"]
