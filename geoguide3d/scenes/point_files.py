"""Any point file as a Scene, chosen by its suffix."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from geoguide3d.scenes.openscene_files import read_openscene
from geoguide3d.scenes.ply import read_ply
from geoguide3d.scenes.raw_points import INSTANCE_NAMES, LABEL_NAMES, Array, RawPoints
from geoguide3d.scenes.scene import Scene

_NPZ_KEYS = ("points", "colors", "normals", "labels", "instances", "faces", "up", "origin")
_GLTF_UP = np.array([0.0, 1.0, 0.0])  # glTF 2.0, section 3.4: "+Y is up"


def read_scene(path: str | os.PathLike[str]) -> Scene:
    """Reads a point file, or the one point file of a folder, as a Scene.

    .ply as `read_ply` does; .pth as `read_openscene` does; .npz with the arrays of `RawPoints` under their names; .obj
    (v and f lines); and through Open3D .pcd, .off, .stl (three vertices per triangle), .glb and .gltf (y up, as their
    standard says). Points stay in the file's order, except that Open3D lists those of .stl, .glb and .gltf triangle by
    triangle or node by node and leaves out vertices without a triangle. Textures are not read. In a folder, files of
    torch (.pth) count where there is no other point file: beside one they are superpoints, masks or weights.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: an unknown suffix, a folder with no or several point files, a broken file (see `RawPoints`).
        ImportError: the format needs Open3D, which is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; a scene is one of {', '.join(_READERS)}")
    if path.is_dir():
        path = _point_file_in(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'}; use one of {', '.join(_READERS)}"
        )
    return reader(path)


def _point_file_in(folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _READERS and file.is_file())
    files = [file for file in files if file.suffix.lower() != ".pth"] or files
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise ValueError(
            f"{folder}: expected one point file ({', '.join(_READERS)}), found {found}; name the file itself"
        )
    return files[0]


def _read_npz(path: Path) -> Scene:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a whole .npz of plain arrays ({error}); save it again") from error
    if "points" not in arrays:
        raise ValueError(f"{path}: no array 'points', only {sorted(arrays)}; the names are {', '.join(_NPZ_KEYS)}")
    return RawPoints(**{name: arrays[name] for name in _NPZ_KEYS if name in arrays}).to_scene(path)


def _read_obj(path: Path) -> Scene:
    """Reads v and f lines. Open3D would leave out vertices without a face, reorder the others and refuse quads."""
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split()
            try:
                if words[:1] == ["v"]:
                    vertices.append([float(word) for word in words[1:]])
                elif words[:1] == ["f"]:
                    corners = [int(word.split("/")[0]) for word in words[1:]]
                    corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
                    faces += [(corners[0], a, b) for a, b in pairwise(corners[1:])]
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not an OBJ line ({error}); export the file again") from error
    widths = {len(vertex) for vertex in vertices}
    if len(widths) > 1 or widths - {3, 4, 6, 7}:  # x y z, with w, or with colour (and alpha)
        raise ValueError(
            f"{path}: vertices hold {sorted(widths)} numbers, expected x y z or x y z r g b in all of them"
        )
    table = np.array(vertices) if vertices else np.empty((0, 3))
    return RawPoints(
        points=table[:, :3],
        colors=table[:, 3:6] if widths & {6, 7} else None,
        faces=np.array(faces) if faces else None,
    ).to_scene(path)


def _read_pcd(path: Path) -> Scene:
    cloud = _open3d(path).t.io.read_point_cloud(str(path))
    attributes: dict[str, Array] = {name.lower(): tensor.numpy() for name, tensor in cloud.point.items()}
    if "positions" not in attributes or len(attributes["positions"]) == 0:
        raise ValueError(f"{path}: Open3D finds no points in it; the file is broken, or holds zero points")
    return RawPoints(
        points=attributes["positions"],
        colors=attributes.get("colors"),
        normals=attributes.get("normals"),
        labels=_first_column(attributes, LABEL_NAMES),
        instances=_first_column(attributes, INSTANCE_NAMES),
    ).to_scene(path)


def _first_column(attributes: dict[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((attributes[name].reshape(-1) for name in names if name in attributes), None)


def _read_mesh(path: Path) -> Scene:
    mesh = _open3d(path).io.read_triangle_mesh(str(path))
    if len(mesh.vertices) == 0:
        raise ValueError(f"{path}: Open3D finds no vertices in it; the file is broken, or holds zero points")
    return RawPoints(
        points=np.asarray(mesh.vertices),
        colors=np.asarray(mesh.vertex_colors) if mesh.has_vertex_colors() else None,
        normals=np.asarray(mesh.vertex_normals) if mesh.has_vertex_normals() else None,
        faces=np.asarray(mesh.triangles),
        up=_GLTF_UP if path.suffix.lower() in (".glb", ".gltf") else None,
    ).to_scene(path)


def _open3d(path: Path) -> Any:
    try:
        import open3d
    except ImportError as error:
        raise ImportError(
            f"{path}: {path.suffix} files are read by Open3D: pip install 'geoguide3d[open3d]'"
        ) from error
    return open3d


_READERS: dict[str, Callable[[Path], Scene]] = {
    ".ply": read_ply,
    ".npz": _read_npz,
    ".obj": _read_obj,
    ".pcd": _read_pcd,
    ".off": _read_mesh,
    ".stl": _read_mesh,
    ".glb": _read_mesh,
    ".gltf": _read_mesh,
    ".pth": read_openscene,
}
