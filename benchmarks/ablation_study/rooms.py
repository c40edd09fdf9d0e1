"""Procedural rooms as the ablation reads them: thinned clouds with everything that a row may learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ablation_study.teachers import Teacher
from geoguide3d.backbones.room_net.with_descriptors import RoomNetWithDescriptors
from geoguide3d.distillation.guides import surface_of
from geoguide3d.distillation.lessons import Lesson
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
    """

    train: int = 24
    validation: int = 8
    test: int = 24
    first_seed: int = 200_000
    views: int = 24
    kept: int = 30_000
    judged: int = 12_000
    teacher: Teacher = field(default_factory=Teacher)

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
    """

    name: str
    features: Tensor
    targets: Tensor
    labels: Tensor
    superpoints: dict[str, Tensor]
    masks: dict[str, PointMasks]

    @property
    def seen(self) -> Tensor:
        """(N,) bool."""
        return self.targets.abs().amax(dim=1) > 0

    def lesson(self, superpoints: str | None, masks: PointMasks | None) -> Lesson:
        """Returns what a row learns from this room."""
        taught = self.seen.nonzero().squeeze(1)
        ids = None if superpoints is None else self.superpoints[superpoints]
        return Lesson(self.name, self.features, taught, self.targets[taught], ids, masks)


def prepare(folder: Path, plan: Plan, workers: int) -> dict[str, list[RoomData]]:
    """Returns the rooms of each split, made where the folder has them not yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rooms = plan.rooms()
    make = partial(_make, folder, plan)
    with get_context("fork").Pool(workers, torch.set_num_threads, (1,)) as pool:
        paths = list(tqdm(pool.imap(make, rooms), total=len(rooms), desc="rooms", unit="room", smoothing=0))
    found: dict[str, list[RoomData]] = {"train": [], "validation": [], "test": []}
    for (split, _), path in zip(rooms, paths, strict=True):
        found[split].append(_read(path))
    return found


def _make(folder: Path, plan: Plan, room: tuple[Split, int]) -> Path:
    """Writes a room's file and returns its path."""
    split, seed = room
    kept = plan.kept if split == "train" else plan.judged
    key = content_key({"room": f"{split} {seed} {plan.views} {kept}", "teacher": str(plan.teacher), "format": "3"})
    path = folder / f"{split}_{seed}_{key[:16]}.pt"
    if not path.is_file():
        made = make_room(seed, split)
        content = _content(with_up(made.scene(), UP), plan.teacher.fuse(made, plan.views), kept)
        with atomic_file(path) as temporary:
            torch.save(content, temporary)
    return path


def _content(scene: Scene, fused: Tensor, kept: int) -> dict[str, object]:
    assert scene.labels is not None and scene.instances is not None and scene.normals is not None  # rooms have all
    superpoints = {kind: superpoints_of_scene(scene, settings) for kind, settings in SUPERPOINTS.items()}
    masks = {
        "proposer": propose_masks(surface_of(scene, superpoints["standard"])),
        "ground truth": PointMasks.from_labels(scene.instances),
    }
    rows = torch.randperm(len(scene), generator=torch.Generator().manual_seed(0))[:kept].sort().values
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


def _read(path: Path) -> RoomData:
    content = torch.load(path, weights_only=True)
    masks = {source: PointMasks(**fields) for source, fields in content.pop("masks").items()}
    return RoomData(**content, masks=masks)


def shuffled_masks(room: RoomData, masks: PointMasks, seed: int) -> PointMasks:
    """Returns masks of the same sizes over other superpoints: lumps of surface that belong together by chance.

    Points are put in an order in which superpoints stay whole; each takes the place of one in another such order.
    """
    ids = room.superpoints["standard"]
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(int(ids.max()) + 1, generator=generator)[ids].argsort(stable=True) for _ in range(2)]
    place = torch.empty(len(ids), dtype=torch.int64)
    place[orders[0]] = orders[1]
    moved = place[masks.point_ids]
    order = (masks.owners * len(ids) + moved).argsort()
    return replace(masks, point_ids=moved[order])
