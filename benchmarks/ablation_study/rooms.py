"""Procedural rooms as the ablation reads them: thinned clouds with everything that a row may learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ablation_study.teachers import SimulatedTeacher, Teacher
from ablation_study.voxels import Voxels, voxels_of
from geoguide3d.backbones.room_net.with_descriptors import RoomNetWithDescriptors
from geoguide3d.distillation.guides import surface_of
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.geometry.proposals import propose_masks
from geoguide3d.geometry.superpoints import SuperpointSettings
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.rooms import make_room
from geoguide3d.scenes.rooms.splits import Split
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoints import superpoints_of_scene
from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.cache import content_key

_FORMAT = "5"  # of what is kept and of the rooms; with 5, masks are proposed by settings for coloured superpoints
UP = torch.tensor([0.0, 0.0, 1.0])
SUPERPOINTS = {
    "standard": SuperpointSettings(min_size=20),
    "over-segmented": SuperpointSettings(k_threshold=0.001, min_size=5),
    "under-segmented": SuperpointSettings(k_threshold=0.3, min_size=200),
}


@dataclass(frozen=True)
class Plan:
    """Which rooms are made, and how.

    Args:
        train, validation, test: how many of each split.
        first_seed: of the first room of each split; no model of the package was trained on these.
        views: frames of the walk through each room.
        kept: points of a room to learn from that are kept, drawn evenly.
        judged: points of a room to be judged that are kept.
        teacher: what says in words what the frames show.
        density: share of a cloud's points that is left before anything is computed, drawn evenly.
    """

    train: int = 24
    validation: int = 16
    test: int = 24
    first_seed: int = 200_000
    views: int = 24
    kept: int = 30_000
    judged: int = 12_000
    teacher: Teacher | SimulatedTeacher = field(default_factory=Teacher)
    density: float = field(default=1.0, repr=False)

    @property
    def key(self) -> str:
        """Tells these rooms from others."""
        return f"{self!r}, density {self.density}, format {_FORMAT}"

    def points_of(self, split: Split) -> int:
        """Returns how many points of a room are kept."""
        return self.kept if split == "train" else self.judged

    def rooms(self) -> list[tuple[Split, int]]:
        """Returns split and seed of every room."""
        counts: dict[Split, int] = {"train": self.train, "validation": self.validation, "test": self.test}
        return [(split, self.first_seed + i) for split, count in counts.items() for i in range(count)]


@dataclass(frozen=True)
class RoomData:
    """One room, N kept points.

    Args:
        name: of the room.
        features: (N, G) float16 of the frozen backbone.
        targets: (N, C) float16 fused features of the teacher, 0 where no view saw the point.
        labels: (N,) int64 categories.
        superpoints: (N,) int64 by kind of segmentation.
        masks: by source: "proposer" and "ground truth".
        voxels: what a network sees of the cloud, where it was asked for.
    """

    name: str
    features: Tensor
    targets: Tensor
    labels: Tensor
    superpoints: dict[str, Tensor]
    masks: dict[str, PointMasks]
    voxels: Voxels | None = None

    @property
    def kind(self) -> str:
        """The room's layout, such as "living room"."""
        return " ".join(self.name.split("_")[2:])

    @property
    def seen(self) -> Tensor:
        """(N,) bool."""
        return self.targets.abs().amax(dim=1) > 0


def prepare(folder: Path, plan: Plan, workers: int, with_voxels: bool = False) -> dict[str, list[RoomData]]:
    """Returns the rooms of each split, made where the folder has them not yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rooms = plan.rooms()
    make = partial(_make, folder, plan, with_voxels)
    with get_context("fork").Pool(workers, torch.set_num_threads, (1,)) as pool:
        paths = list(tqdm(pool.imap(make, rooms), total=len(rooms), desc="rooms", unit="room", smoothing=0))
    found: dict[str, list[RoomData]] = {"train": [], "validation": [], "test": []}
    for (split, _), files in zip(rooms, paths, strict=True):
        found[split].append(_read(files))
    return found


def with_targets_of(rooms: dict[str, list[RoomData]], others: dict[str, list[RoomData]]) -> dict[str, list[RoomData]]:
    """Returns rooms with the targets of the same rooms under another teacher; they share the memory of the rest."""
    pairs = {split: zip(some, others[split], strict=True) for split, some in rooms.items()}
    return {split: [replace(room, targets=other.targets) for room, other in both] for split, both in pairs.items()}


def with_channels(rooms: dict[str, list[RoomData]], channels: slice) -> dict[str, list[RoomData]]:
    """Returns rooms with a part of their features' channels; they share the memory of the rest."""
    return {
        split: [replace(room, features=room.features[:, channels]) for room in some] for split, some in rooms.items()
    }


def _make(folder: Path, plan: Plan, with_voxels: bool, room: tuple[Split, int]) -> list[Path]:
    """Writes a room's files and returns their paths: the room itself, then what takes the place of parts of it.

    A simulated teacher's targets are a file of their own beside the room as RoomCLIP teaches it.
    """
    split, seed = room
    kept, views, density = plan.points_of(split), plan.views, plan.density
    sparser = {} if density == 1 else {"density": str(density)}
    entries = {"room": f"{split} {seed} {views} {kept}", "teacher": str(Teacher()), "format": _FORMAT, **sparser}
    paths = [folder / f"{split}_{seed}_{content_key(entries)[:16]}.pt"]
    if not paths[0].is_file():
        _save(paths[0], _content(_cloud(room, density), _fused(room, Teacher(), views, density), kept))
    if plan.teacher != Teacher():
        key = content_key({**entries, "teacher": str(plan.teacher)})
        paths.append(folder / f"targets_{split}_{seed}_{key[:16]}.pt")
        if not paths[-1].is_file():
            fused = _fused(room, plan.teacher, views, density)
            _save(paths[-1], {"targets": fused[drawn_rows(len(fused), kept)].to(torch.float16)})
    if with_voxels:
        key = content_key({"points": str(kept), "format": _FORMAT, **sparser})
        paths.append(folder / f"voxels_{split}_{seed}_{key[:16]}.pt")
        if not paths[-1].is_file():
            scene = _cloud(room, density)
            _save(paths[-1], {"voxels": asdict(voxels_of(scene, drawn_rows(len(scene), kept)))})
    return paths


def _cloud(room: tuple[Split, int], density: float) -> Scene:
    split, seed = room
    return thinned(with_up(make_room(seed, split).scene(), UP), density)


def _fused(room: tuple[Split, int], teacher: Teacher | SimulatedTeacher, views: int, density: float) -> Tensor:
    """Returns (N, C) what the teacher says of the points of `_cloud`, each by itself."""
    split, seed = room
    fused = teacher.fuse(make_room(seed, split), views)
    return fused if density == 1 else fused[_left(len(fused), density)]


def thinned(scene: Scene, density: float) -> Scene:
    """Returns the scene with that share of its points, drawn evenly."""
    if density == 1:
        return scene
    rows = _left(len(scene), density)
    parts = {name: getattr(scene, name) for name in ("points", "colors", "normals", "labels", "instances")}
    return replace(scene, **{name: None if part is None else part[rows] for name, part in parts.items()})


def _left(count: int, density: float) -> Tensor:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    return order[: round(density * count)].sort().values


def drawn_rows(count: int, kept: int) -> Tensor:
    """Returns the rows of a cloud's points that are kept, ascending."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:kept].sort().values


def _save(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def _content(scene: Scene, fused: Tensor, kept: int) -> dict[str, Any]:
    assert scene.labels is not None and scene.instances is not None and scene.normals is not None  # rooms have all
    superpoints = {kind: superpoints_of_scene(scene, settings) for kind, settings in SUPERPOINTS.items()}
    masks = {
        "proposer": propose_masks(surface_of(scene, superpoints["standard"])),
        "ground truth": PointMasks.from_labels(scene.instances),
    }
    rows = drawn_rows(len(scene), kept)
    cut = {source: found.of_points(rows) for source, found in masks.items()}
    cut = {source: found.select(found.sizes > 0) for source, found in cut.items()}
    return {
        "name": scene.name,
        "features": RoomNetWithDescriptors().encode(scene)[rows].to(torch.float16),
        "targets": fused[rows].to(torch.float16),
        "labels": scene.labels[rows],
        "superpoints": {kind: torch.unique(ids[rows], return_inverse=True)[1] for kind, ids in superpoints.items()},
        "masks": {source: asdict(found) for source, found in cut.items()},
    }


def _read(paths: list[Path]) -> RoomData:
    content: dict[str, Any] = {}
    for path in paths:
        content |= torch.load(path, weights_only=True)
    masks = {source: PointMasks(**fields) for source, fields in content.pop("masks").items()}
    voxels = content.pop("voxels", None)
    return RoomData(**content, masks=masks, voxels=None if voxels is None else Voxels(**voxels))
