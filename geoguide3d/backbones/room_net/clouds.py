"""Point clouds of procedural rooms on disk: what RoomNet is trained and judged on, readable without any renderer.

Each room is one safetensors file. Labels and instances are written only where a measure needs them. Rooms to learn
from have none: beside positions, colours and normals they hold what geometry alone says of every point, the piece of
the room it belongs to and its handcrafted descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.descriptors.pieces import find_pieces
from geoguide3d.backbones.descriptors.samples import sample
from geoguide3d.scenes.rooms.splits import Split
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.repeats import without_repeats

JUDGED: tuple[Split, ...] = ("validation", "test")
_PIECES_VOXEL_M = 0.04
_DESCRIBED_VOXEL_M = 0.08  # of the descriptors to foretell; finer ones take minutes more and say little else


@dataclass(frozen=True)
class CloudCounts:
    """How many rooms are made.

    Args:
        train: rooms to learn from.
        validation: further rooms, of shapes that no other split has.
        test: rooms of the shapes, layouts and textures that training never shows.
    """

    train: int = 240
    validation: int = 24
    test: int = 40


def write_clouds(folder: Path, counts: CloudCounts, make_scene: Callable[[int, Split], Scene]) -> None:
    """Writes the rooms that the folder lacks, so that a run that was stopped goes on where it was.

    Args:
        make_scene: (seed, split) → scene with colours and normals; seeds run from 0 in every split.
    """
    wanted: dict[Split, int] = {"validation": counts.validation, "train": counts.train, "test": counts.test}
    for split, count in wanted.items():
        for seed in tqdm(range(count), desc=f"making {split} rooms", unit="room"):
            path = _path(folder, split, seed)
            if not path.is_file():
                _write(path, make_scene(seed, split), split in JUDGED)


@dataclass(frozen=True)
class TrainingRoom:
    """A room to learn from.

    Args:
        scene: N points with colours and normals, z up.
        piece: (N,) int64, what hangs together when floor, walls and ceiling are taken away (`find_pieces`).
        described: (U, 223) float32, the descriptors of its voxels.
        described_row: (N,) int64, the row of each point in `described`.
    """

    scene: Scene
    piece: Tensor
    described: Tensor
    described_row: Tensor


class TrainingRooms(Sequence[TrainingRoom]):
    """The rooms to learn from, each read when it is asked for.

    Args:
        folder: of `write_clouds`.
        count: the first so many.

    Raises:
        FileNotFoundError: the folder has fewer.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = _paths(folder, "train", count)

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> TrainingRoom: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingRoom]: ...
    def __getitem__(self, index: int | slice) -> TrainingRoom | list[TrainingRoom]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        kept = load_file(self._paths[index])
        rows = kept["described_row"].long()
        return TrainingRoom(_scene(self._paths[index], kept), kept["piece"].long(), kept["described"].float(), rows)


def judged_rooms(folder: Path, split: Split, count: int) -> Iterator[Scene]:
    """Returns the first rooms of the validation or the test split, with labels and instances.

    Raises:
        FileNotFoundError: the folder has fewer.
    """
    return (_scene(path, load_file(path)) for path in _paths(folder, split, count))


def _paths(folder: Path, split: Split, count: int) -> list[Path]:
    paths = [_path(folder, split, seed) for seed in range(count)]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{absent[0]} is missing: tools/train_room_net.py makes the rooms")
    return paths


def _path(folder: Path, split: Split, seed: int) -> Path:
    return folder / split / f"room_{seed:05d}.safetensors"


def _write(path: Path, scene: Scene, judged: bool) -> None:
    assert scene.colors is not None and scene.normals is not None  # rooms have both
    kept = {
        "points": scene.points,
        "colors": (scene.colors * 255).round().to(torch.uint8),
        "normals": scene.normals.to(torch.float16),
    }
    if judged:
        assert scene.labels is not None and scene.instances is not None
        kept |= {"labels": scene.labels.to(torch.uint8), "instances": scene.instances.to(torch.int16)}
    else:
        kept |= _without_labels(_scene(path, kept))  # of what is kept, rounded as it is
    with atomic_file(path) as temporary:
        save_file({name: value.contiguous() for name, value in kept.items()}, temporary)


def _without_labels(scene: Scene) -> dict[str, Tensor]:
    samples = sample(scene, _PIECES_VOXEL_M)
    pieces = find_pieces(samples, _PIECES_VOXEL_M).object_of_sample[samples.voxel_of_point]
    features = Descriptors(_DESCRIBED_VOXEL_M).encode(scene)
    described, rows = without_repeats(features)
    return {
        "piece": pieces.to(torch.int32),
        "described": described.to(torch.float16),
        "described_row": (torch.arange(len(scene)) if rows is None else rows).to(torch.int32),
    }


def _scene(path: Path, kept: Mapping[str, Tensor]) -> Scene:
    return Scene(
        points=kept["points"],
        up=torch.tensor([0.0, 0.0, 1.0]),
        colors=kept["colors"].float() / 255,
        normals=normalize(kept["normals"].float(), dim=1),
        labels=kept["labels"].long() if "labels" in kept else None,
        instances=kept["instances"].long() if "instances" in kept else None,
        name=path.stem,
    )
