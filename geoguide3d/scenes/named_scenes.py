"""Data sets that keep a scene's files in several folders: a list names scenes, patterns say where their files lie."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoguide3d.scenes.openscene_files import openscene_name
from geoguide3d.scenes.scene_list import listed_names

PLACE = "{scene}"


@dataclass(frozen=True)
class ScenePatterns:
    """Where the files of a scene lie: paths under --data-root with {scene} for its name, of which the first fit counts.

    Patterns may hold the wildcards * and ?, but must lead to one file: `scannet_3d/*/` would find the points of
    ScanNet and, with them, SAS's superpoints of the same file name.

    Args:
        points: of its point cloud. None named: the scene list holds paths, as ever.
        superpoints: of its superpoints; none named: there are none on disk.
        masks: of its class-agnostic instance masks; none named: there are none on disk.

    Raises:
        ValueError: a pattern without {scene}.
    """

    points: tuple[str, ...] = ()
    superpoints: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in ("points", "superpoints", "masks"):
            check_patterns(kind, getattr(self, kind))


@dataclass(frozen=True)
class SceneFiles:
    """The files of one scene.

    Args:
        name: as the other files of the data set have it, e.g. scene0000_00.
        points: of its point cloud.
        superpoints, masks: None where no pattern was given.
    """

    name: str
    points: Path
    superpoints: Path | None = None
    masks: Path | None = None


def read_named_scenes(
    path: str | os.PathLike[str], data_root: str | os.PathLike[str], patterns: ScenePatterns
) -> list[SceneFiles]:
    """Returns the scenes of a list that names them, in its order, with their files.

    A line is a name, such as scene0000_00, or the name of its point file, with or without `_vh_clean_2` and `.pth`.
    Comments are those of `read_scene_list`.

    Raises:
        ValueError: the list is missing or empty, a scene is named twice, or one of its files is missing or ambiguous;
            names the line and what was looked for.
    """
    path, root = Path(path), Path(data_root)
    scenes: dict[str, int] = {}
    found = []
    for number, line in listed_names(path):
        name = openscene_name(Path(line))
        if name in scenes:
            raise ValueError(f"{path}:{number}: {name!r} is already on line {scenes[name]}; remove one of the two")
        scenes[name] = number
        try:
            points = find_file("point file", patterns.points, root, name)
            superpoints = find_file("superpoints", patterns.superpoints, root, name) if patterns.superpoints else None
            masks = find_file("masks", patterns.masks, root, name) if patterns.masks else None
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        found.append(SceneFiles(name, points, superpoints, masks))
    return found


def find_file(kind: str, patterns: Sequence[str], root: Path, name: str) -> Path:
    """Returns the one file of a scene that the first fitting pattern leads to.

    Raises:
        FileNotFoundError: no pattern leads to a file; names all that was looked for.
        ValueError: a pattern leads to several files.
    """
    files = find_files(kind, patterns, root, name)
    if len(files) > 1:
        some = ", ".join(str(file) for file in files[:3])
        raise ValueError(f"scene {name!r} has {len(files)} files for its {kind}: {some}; write a narrower pattern")
    return files[0]


def find_files(kind: str, patterns: Sequence[str], root: Path, name: str) -> list[Path]:
    """Returns all files of a scene that the first fitting pattern leads to, sorted by name; at least one.

    Raises:
        FileNotFoundError: no pattern leads to a file; names all that was looked for.
    """
    for pattern in patterns:
        filled = pattern.replace(PLACE, glob.escape(name))
        files = sorted(Path(file) for file in glob.glob(filled, root_dir=root))  # noqa: PTH207 escaping is glob's
        files = [root / file for file in files if (root / file).is_file()]
        if files:
            return files
    looked = " and ".join(str(root / pattern.replace(PLACE, name)) for pattern in patterns) or "no pattern at all"
    raise FileNotFoundError(
        f"scene {name!r} has no {kind}; looked for {looked}. Correct the name, the patterns or --data-root"
    )


def check_patterns(kind: str, patterns: Sequence[str]) -> None:
    """Raises ValueError where a pattern has no place for the scene's name."""
    for pattern in patterns:
        if PLACE not in pattern:
            raise ValueError(f"the pattern {pattern!r} of {kind} has no {PLACE}, the place of the scene's name")
