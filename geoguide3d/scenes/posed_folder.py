"""Folders of posed RGB-D frames in the layout of ScanNet's exporter.

color/<frame>.jpg | .png      RGB
depth/<frame>.png             16-bit z-depth, 0 = missing; the folder may be absent
pose/<frame>.txt              4×4 world-from-camera, OpenCV axes, metres
intrinsic.txt | intrinsics.txt | intrinsic/intrinsic_color.txt | intrinsic/<frame>.txt      3×3 or 4×4, pixels
intrinsic_depth.txt | intrinsic/intrinsic_depth.txt                                         may be absent
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import torch
from torch import Tensor
from tqdm.auto import tqdm

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.images import image_size, read_color, read_depth, write_color, write_depth
from geoguide3d.scenes.matrix_files import read_intrinsics, read_pose, write_matrix
from geoguide3d.scenes.view import View
from geoguide3d.store.atomic import atomic_folder

_COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")
_GLOBAL_INTRINSICS = ("intrinsic.txt", "intrinsics.txt", "intrinsic/intrinsic_color.txt")
_DEPTH_INTRINSICS = ("intrinsic_depth.txt", "intrinsic/intrinsic_depth.txt")
_ASPECT_TOLERANCE = 0.02  # ScanNet: 1296×968 beside 640×480 differ by 0.4 %


@dataclass(frozen=True)
class Frame:
    """The files of one frame and the numbers already read from them."""

    name: str
    color: Path
    depth: Path | None
    camera_from_world: Tensor  # (4, 4) float64
    intrinsics: Tensor  # (3, 3) float64, of the colour image


class PosedFolder(Sequence[View]):
    """The views of a folder, each made when it is asked for; pixels are read only by the view's own functions.

    Attributes:
        skipped: names of the frames left out because their pose holds inf or NaN.
    """

    def __init__(
        self, frames: Sequence[Frame], skipped: Sequence[str], depth_scale: float, depth_intrinsics: Tensor | None
    ) -> None:
        self.skipped = tuple(skipped)
        self._frames = tuple(frames)
        self._depth_scale = depth_scale
        self._depth_intrinsics = depth_intrinsics

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> View: ...
    @overload
    def __getitem__(self, index: slice) -> PosedFolder: ...
    def __getitem__(self, index: int | slice) -> View | PosedFolder:
        if isinstance(index, slice):
            return PosedFolder(self._frames[index], self.skipped, self._depth_scale, self._depth_intrinsics)
        frame = self._frames[index]
        camera = Camera(frame.intrinsics, frame.camera_from_world, *image_size(frame.color))
        return View(frame.name, camera, partial(read_color, frame.color), self._depth_reader(frame, camera))

    def _depth_reader(self, frame: Frame, camera: Camera) -> partial[Tensor] | None:
        if frame.depth is None:
            return None
        if self._depth_intrinsics is not None:
            return partial(_read_depth_as_seen_by, camera, frame.depth, self._depth_scale, self._depth_intrinsics)
        width, height = image_size(frame.depth)
        if abs(width * camera.height / (height * camera.width) - 1) > _ASPECT_TOLERANCE:
            raise ValueError(
                f"{frame.depth}: {width}×{height} has another aspect than {frame.color}, "
                f"{camera.width}×{camera.height}, so they cannot cover the same field of view; "
                f"add {_DEPTH_INTRINSICS[0]} with the depth camera's matrix"
            )
        return partial(read_depth, frame.depth, self._depth_scale)


def open_posed_folder(path: str | os.PathLike[str], *, depth_scale: float = 1000.0, stride: int = 1) -> PosedFolder:
    """Opens a folder of frames (layout: the head of this module), in the natural order of their names.

    The intrinsics are those of the colour image. Poses on disk are world-from-camera and are inverted here. Depth is
    taken to cover the colour image's field of view, in its own resolution; where intrinsic_depth.txt says what the
    depth camera sees, each depth map is resampled (nearest pixel) into the colour camera's field of view.

    Args:
        depth_scale: units per metre in the depth files; ScanNet has 1000, Matterport 4000.
        stride: takes every stride-th frame.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no frame; a frame without one of its files; no intrinsics, or some that make no camera; a pose that
            is no rigid 4×4; colour and depth of different aspects; no finite pose at all.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder of posed frames")
    if depth_scale <= 0 or stride < 1:
        raise ValueError(f"{path}: depth_scale must be > 0 and stride >= 1, got {depth_scale} and {stride}")
    colors, depths, poses = _frame_files(path)
    names = sorted(colors, key=_natural_order)[::stride]
    intrinsics = _intrinsics_of(path, names)
    pose_of = {name: read_pose(poses[name]) for name in names}
    skipped = [name for name in names if pose_of[name] is None]
    if skipped:
        warnings.warn(
            f"{path}: skipped {len(skipped)} of {len(names)} frames whose pose holds inf or NaN: {_some(skipped)}",
            stacklevel=2,
        )
    frames = [
        Frame(name, colors[name], depths.get(name), torch.linalg.inv(pose), intrinsics[name])
        for name, pose in pose_of.items()
        if pose is not None
    ]
    if not frames:
        raise ValueError(f"{path}: no frame has a finite pose, so no image can be placed; check {path / 'pose'}")
    depth_camera = next((path / name for name in _DEPTH_INTRINSICS if (path / name).is_file()), None)
    folder = PosedFolder(frames, skipped, depth_scale, None if depth_camera is None else read_intrinsics(depth_camera))
    _check_principal_point(folder[0], path)  # also meets aspects that differ before any work begins
    return folder


def write_posed_folder(
    path: str | os.PathLike[str], views: Iterable[View], *, depth_scale: float = 1000.0, progress: bool = False
) -> None:
    """Writes views one after another as a folder that `open_posed_folder` reads: JPEG of quality 95, 16-bit depth.

    One intrinsic.txt serves where all views share it, else intrinsic/<frame>.txt. The folder appears, and replaces an
    older one, only once it is whole.

    Raises:
        ValueError: no view, a name that is taken or no file name, an image of another size than its camera, depth in
            some views only, depth that 16 bits cannot hold.
    """
    intrinsics: dict[str, Tensor] = {}
    depth_count = 0
    with atomic_folder(path) as folder:
        for view in tqdm(views, desc=f"writing {Path(path).name}", unit="frame", disable=not progress):
            if view.name in intrinsics or not re.fullmatch(r"[\w-][\w.-]*", view.name):
                raise ValueError(f"{path}: cannot write a frame named {view.name!r}; take distinct plain file names")
            _write_frame(folder, view, depth_scale)
            intrinsics[view.name] = view.camera.intrinsics
            depth_count += view.read_depth is not None
        if not intrinsics:
            raise ValueError(f"{path}: there are no views to write")
        if depth_count not in (0, len(intrinsics)):
            raise ValueError(
                f"{path}: only {depth_count} of {len(intrinsics)} views have depth; give all of them or none"
            )
        first = next(iter(intrinsics.values()))
        if all(torch.equal(first, other) for other in intrinsics.values()):
            write_matrix(folder / _GLOBAL_INTRINSICS[0], first)
        else:
            for name, matrix in intrinsics.items():
                write_matrix(folder / "intrinsic" / f"{name}.txt", matrix)


def _frame_files(path: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """Finds the colour, depth and pose file of every frame."""
    color = _by_stem(path / "color", _COLOR_SUFFIXES)
    depth = _by_stem(path / "depth", (".png",)) if (path / "depth").is_dir() else {}
    pose = _by_stem(path / "pose", (".txt",))
    rooms = {"color": color, "pose": pose} | ({"depth": depth} if (path / "depth").is_dir() else {})
    names = set().union(*rooms.values())
    if not names:
        raise ValueError(
            f"{path}: no frames in color/ and pose/; export them as color/<frame>.jpg and pose/<frame>.txt"
        )
    missing = [
        f"{room}/{name}" for name in sorted(names, key=_natural_order) for room in rooms if name not in rooms[room]
    ]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} files are missing, {_some(missing)}; export them again, or remove the other files "
            "of these frames"
        )
    return color, depth, pose


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; posed frames need color/ and pose/")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        if file.stem in found:
            raise ValueError(f"{folder}: {found[file.stem].name} and {file.name} are the same frame; remove one")
        found[file.stem] = file
    return found


def _intrinsics_of(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    shared = next((path / name for name in _GLOBAL_INTRINSICS if (path / name).is_file()), None)
    if shared is not None:
        return dict.fromkeys(names, read_intrinsics(shared))
    files = {name: path / "intrinsic" / f"{name}.txt" for name in names}
    missing = [str(file.relative_to(path)) for file in files.values() if not file.is_file()]
    if len(missing) == len(files):
        raise ValueError(f"{path}: no intrinsics; add {', '.join(_GLOBAL_INTRINSICS)} or intrinsic/<frame>.txt, 3×3")
    if missing:
        raise ValueError(f"{path}: {len(missing)} files are missing, {_some(missing)}; or write one intrinsic.txt")
    return {name: read_intrinsics(file) for name, file in files.items()}


def _write_frame(folder: Path, view: View, depth_scale: float) -> None:
    color = view.read_color()
    expected = (view.camera.height, view.camera.width, 3)
    if tuple(color.shape) != expected or color.dtype != torch.uint8:
        raise ValueError(f"{view.name}: color must be {expected} uint8, got {tuple(color.shape)} {color.dtype}")
    for room in ("color", "depth", "pose") if view.read_depth is not None else ("color", "pose"):
        (folder / room).mkdir(exist_ok=True)
    write_color(folder / "color" / f"{view.name}.jpg", color)
    write_matrix(folder / "pose" / f"{view.name}.txt", torch.linalg.inv(view.camera.camera_from_world))
    if view.read_depth is not None:
        write_depth(folder / "depth" / f"{view.name}.png", view.read_depth(), depth_scale)


def _read_depth_as_seen_by(camera: Camera, file: Path, depth_scale: float, depth_intrinsics: Tensor) -> Tensor:
    """Reads depth of a camera with the same centre and axes, resampled into the field of view of `camera`.

    The result has the file's own size; pixels that the depth camera does not see are 0.
    """
    depth = read_depth(file, depth_scale)
    height, width = depth.shape
    rays = torch.linalg.inv(camera.resized(width, height).intrinsics)
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).to(torch.float64) @ (depth_intrinsics @ rays).T
    column, row = pixels[..., :2].round().to(torch.int64).unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen: Tensor = depth[row.clamp(0, height - 1), column.clamp(0, width - 1)] * inside
    return seen


def _check_principal_point(view: View, path: Path) -> None:
    camera = view.camera
    x, y = float(camera.intrinsics[0, 2]) / camera.width, float(camera.intrinsics[1, 2]) / camera.height
    if not (0.25 < x < 0.75 and 0.25 < y < 0.75):
        warnings.warn(
            f"{path}: the principal point lies at {x:.0%} of the width and {y:.0%} of the height of the "
            f"{camera.width}×{camera.height} colour image; the intrinsics are probably those of another image size",
            stacklevel=3,
        )


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Orders frame 2 before frame 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
