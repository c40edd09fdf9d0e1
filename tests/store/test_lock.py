"""locked_folder: one owner at a time, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; name a folder"), locked_folder(tmp_path / "file"):
        pass
