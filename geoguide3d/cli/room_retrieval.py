"""How well the things of procedural rooms are found by their category, for the training and for a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.clouds import judged_rooms
from geoguide3d.evaluation.retrieval import Instances, instance_vectors, retrieval_scores
from geoguide3d.scenes.rooms.categories import CATEGORIES, STRUCTURE
from geoguide3d.scenes.scene import Scene

_STRUCTURE = [CATEGORIES.index(name) for name in STRUCTURE]


def things_of(backbone: FrozenBackbone, scenes: Iterable[Scene]) -> Instances:
    """Returns all things of procedural rooms as a backbone sees them; walls, floors and ceilings are none."""
    parts = []
    for scene in scenes:
        assert scene.labels is not None and scene.instances is not None  # rooms have both
        parts.append(instance_vectors(backbone.encode(scene), scene.labels, scene.instances, _STRUCTURE))
    return Instances.joined(parts)


def judge(weights: Path, clouds: Path, count: int) -> dict[str, float]:
    """Returns the retrieval scores of a weights file on the folder's first validation rooms."""
    return asdict(retrieval_scores(things_of(RoomNet.load(weights), judged_rooms(clouds, "validation", count))))
