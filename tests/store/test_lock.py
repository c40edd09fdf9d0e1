"""locked_folder: one owner at a time, and nothing left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geoguide3d.store.lock import LOCK_FILE, locked_folder

HOLD = """
import sys
from geoguide3d.store.lock import locked_folder
with locked_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_names_the_owner_and_the_file(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run") as folder:
        expected = rf"run is in use by process {os.getpid()}, which holds .*run/\.lock; wait for it"
        with pytest.raises(ValueError, match=expected), locked_folder(folder):
            pass
        assert (folder / LOCK_FILE).is_file()  # the one who was refused removed nothing
    with locked_folder(tmp_path / "run"):
        pass


def test_leaves_no_lock_and_no_empty_folder(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()
    with locked_folder(tmp_path / "used") as folder:
        (folder / "result").touch()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["result"]


def test_a_killed_owner_blocks_nobody(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"in use by process {owner.pid},"), locked_folder(tmp_path / "run"):
            pass
        owner.kill()
    assert (tmp_path / "run" / LOCK_FILE).is_file()
    with locked_folder(tmp_path / "run") as folder:
        assert (folder / LOCK_FILE).read_text() == str(os.getpid())


def test_a_link_to_an_empty_folder_stays_and_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match="the reason"), locked_folder(tmp_path / "link"):
        raise ValueError("the reason")
    assert [path.name for path in tmp_path.iterdir() if path.is_symlink()] == ["link"]
    assert list((tmp_path / "real").iterdir()) == []


def test_a_folder_that_its_owner_removed_is_no_error(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run") as folder:
        shutil.rmtree(folder)
    assert not folder.exists()


def test_a_folder_that_is_removed_while_it_is_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner before ends, and removes the empty folder, just before its lock is opened."""
    mkdir, made = Path.mkdir, []

    def removed_once(self: Path, *rest: Any, **more: Any) -> None:
        mkdir(self, *rest, **more)
        if self == tmp_path / "run" and not made:
            made.append(self)
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", removed_once)
    with locked_folder(tmp_path / "run") as folder:
        assert (folder / LOCK_FILE).read_text() == str(os.getpid())
    assert made


def test_a_lock_file_that_its_owner_removed_guards_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner before ends between our opening of its file and our lock on it: another file is the lock by then."""
    flock, removed = fcntl.flock, []

    def removes_once(handle: int, operation: int) -> None:
        if not removed:
            removed.append(handle)
            (tmp_path / "run" / LOCK_FILE).unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", removes_once)
    with locked_folder(tmp_path / "run") as folder:
        assert (folder / LOCK_FILE).is_file()
        with pytest.raises(ValueError, match="is in use by process"), locked_folder(folder):
            pass
    assert removed


def test_the_number_of_an_earlier_owner_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("123456789123456789")
    with locked_folder(tmp_path) as folder:
        assert (folder / LOCK_FILE).read_text() == str(os.getpid())


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with (
        pytest.raises(
            OSError, match=r"run/\.lock cannot be locked \(No locks available\); name a folder on another disk"
        ),
        locked_folder(tmp_path / "run"),
    ):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; name a folder"), locked_folder(tmp_path / "file"):
        pass
