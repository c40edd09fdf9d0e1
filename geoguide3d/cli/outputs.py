"""What commands write beside their results, and how they keep from replacing what they did not write."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from geoguide3d.store.atomic import atomic_file


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


def write_report(folder: Path, resolved: str, report: dict[str, Any]) -> str:
    """Writes config.yaml and report.json of a training, and returns the report as text.

    Args:
        resolved: the settings as YAML.
        report: JSON values.
    """
    text = json.dumps(report, indent=1)
    for name, content in (("config.yaml", resolved), ("report.json", text + "\n")):
        with atomic_file(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return text
