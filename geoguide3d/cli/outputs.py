"""Keeps a command from replacing what it did not write."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def check_replaceable(folder: Path, own_files: Collection[str], overwrite: bool) -> None:
    """Passes where folder is absent, empty, or holds nothing but files of an earlier run.

    Args:
        own_files: names of the files that the command writes.
        overwrite: passes whatever the folder holds.

    Raises:
        ValueError: the folder holds something else, or is a file.
    """
    if folder.is_file():
        raise ValueError(f"--output {folder} is a file; name a folder")
    if overwrite or not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own_files)
    if foreign:
        raise ValueError(
            f"--output {folder} holds {foreign[0]!r}{' and more' if foreign[1:] else ''}, which this command did not "
            "write and would remove; name another folder, or add --overwrite"
        )
