"""Scene lists: a text file with one scene per line."""

from __future__ import annotations

import os
from pathlib import Path


def read_scene_list(path: str | os.PathLike[str], data_root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Reads the scenes of a list, in its order.

    A line is a name under data_root, or else a path, absolute or relative to the list's folder. `#` starts a comment,
    at the start of a line or after a space; blank lines are skipped.

    Raises:
        ValueError: the list is missing, empty or no text, or one of its scenes is missing or named twice.
    """
    path = Path(path)
    roots = ([] if data_root is None else [Path(data_root)]) + [path.parent]
    scenes: dict[Path, int] = {}
    for number, name in listed_names(path):
        scene = next((root / name for root in roots if (root / name).exists()), None)
        if scene is None:
            looked = " and ".join(str(root / name) for root in dict.fromkeys(roots))
            raise ValueError(
                f"{path}:{number}: no scene {name!r}; looked for {looked}. Correct the line or --data-root"
            )
        if scene in scenes:
            raise ValueError(f"{path}:{number}: {name!r} is already on line {scenes[scene]}; remove one of the two")
        scenes[scene] = number
    return list(scenes)


def listed_names(path: Path) -> list[tuple[int, str]]:
    """Returns (line number, what the line names) of a scene list, comments and blank lines left out.

    Raises:
        ValueError: the list is missing, empty or no text.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such scene list; write a text file with one scene per line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error}); a scene list has one scene per line") from error
    named = [
        (number, "" if line.startswith("#") else line.split(" #")[0].split("\t#")[0].strip())
        for number, line in enumerate(lines, start=1)
    ]
    named = [(number, name) for number, name in named if name]
    if not named:
        raise ValueError(f"{path}: the scene list is empty; write one scene per line")
    return named
