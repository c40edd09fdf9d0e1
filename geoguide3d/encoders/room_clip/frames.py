"""Rendered frames on disk: what RoomCLIP is trained and judged on, readable without any renderer.

A folder holds `frames.json` and one folder per split; each room there is three files of one stem: a JPEG and a PNG of
its frames stacked from top to bottom (colours; instance ids, 255 = none), and a JSON with its objects' attributes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from geoguide3d.encoders.room_clip.captions import Attributes
from geoguide3d.store.atomic import atomic_file

NO_OBJECT = 255
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_JPEG = {"quality": 90, "subsampling": 0}  # colours are words here: no chroma subsampling


class RenderedRoom(Protocol):
    """What is asked of a procedural room (see geoguide3d.scenes.rooms)."""

    @property
    def objects(self) -> Sequence[Any]:
        """What is in the room; each thing has `category`, `color` and `material`."""
        ...

    def cameras(self, count: int, width: int, height: int) -> Sequence[Any]:
        """Returns the cameras of a walk."""
        ...

    def render(self, camera: Any) -> Any:
        """Returns a frame with `color` (H, W, 3) uint8 and `instances` (H, W) int64."""
        ...


@dataclass(frozen=True)
class FrameFolder:
    """What `frames.json` says.

    Args:
        categories: every category of the rooms.
        colors: every colour.
        held_out: pairs (category, colour) that no training room shows.
        width: pixels of a stored frame.
        height: pixels of a stored frame.
    """

    categories: tuple[str, ...]
    colors: tuple[str, ...]
    held_out: tuple[tuple[str, str], ...]
    width: int = 160
    height: int = 120

    def write(self, folder: Path) -> None:
        """Writes `frames.json`, last of all files: a folder that has it is whole."""
        with atomic_file(folder / "frames.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @staticmethod
    def is_whole(folder: Path) -> bool:
        """Returns whether the folder holds every frame it should."""
        return (folder / "frames.json").is_file()

    @classmethod
    def read(cls, folder: Path) -> FrameFolder:
        """Reads `frames.json`.

        Raises:
            FileNotFoundError: the folder holds no whole set of frames.
        """
        path = folder / "frames.json"
        if not cls.is_whole(folder):
            raise FileNotFoundError(f"{path} is missing: render the frames first (tools/train_room_clip.py does)")
        values = json.loads(path.read_text(encoding="utf-8"))
        pairs = tuple((category, color) for category, color in values["held_out"])
        return cls(tuple(values["categories"]), tuple(values["colors"]), pairs, values["width"], values["height"])


@dataclass(frozen=True)
class RoomCounts:
    """How many rooms are rendered, and how many frames of each.

    Args:
        train: rooms to learn from.
        validation: further rooms, of shapes that no other split has.
        test: rooms of the variants, textures and colour × category pairs that training never shows.
        views: frames per room.
    """

    train: int = 540
    validation: int = 20
    test: int = 40
    views: int = 8


def render_frames(
    folder: Path, names: FrameFolder, counts: RoomCounts, make_room: Callable[[int, Split], RenderedRoom]
) -> None:
    """Renders every split into the folder; a run that was stopped goes on where it was.

    Args:
        make_room: (seed, split) → room; seeds run from 0 in every split.
    """
    for split in SPLITS:
        for seed in tqdm(range(getattr(counts, split)), desc=f"rendering {split} rooms", unit="room"):
            stem = folder / split / f"room_{seed:05d}"
            if not stem.with_suffix(".json").is_file():
                _write_room(stem, make_room(seed, split), counts.views, names)
    names.write(folder)


def _write_room(stem: Path, room: RenderedRoom, views: int, size: FrameFolder) -> None:
    """Renders a room at twice the stored size and writes its three files, the JSON last."""
    from PIL import Image

    colors, instances = [], []
    for camera in room.cameras(views, 2 * size.width, 2 * size.height):
        frame = room.render(camera)
        pixels = torch.as_tensor(frame.color).permute(2, 0, 1)[None].float()
        colors.append(F.avg_pool2d(pixels, 2)[0].round().to(torch.uint8).permute(1, 2, 0))
        instances.append(torch.as_tensor(frame.instances)[::2, ::2])
    if len(room.objects) > NO_OBJECT:
        raise ValueError(f"{stem.name}: {len(room.objects)} objects do not fit a byte; make the room smaller")
    ids = torch.cat(instances)
    stored = torch.where(ids < 0, NO_OBJECT, ids).to(torch.uint8)
    for suffix, stacked, options in ((".jpg", torch.cat(colors), _JPEG), (".png", stored, {"optimize": True})):
        with atomic_file(stem.with_suffix(suffix)) as temporary:
            Image.fromarray(stacked.numpy()).save(temporary, **options)
    things = [{"category": t.category, "color": t.color, "material": t.material} for t in room.objects]
    with atomic_file(stem.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(things), encoding="utf-8")


@dataclass(frozen=True)
class Frames:
    """The frames of one split, in memory.

    Args:
        images: (F, 3, H, W) uint8 RGB.
        objects: (F, H, W) int32 row of `things` that a pixel shows, -1 none.
        things: the objects of all rooms.
    """

    images: Tensor
    objects: Tensor
    things: tuple[Attributes, ...]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def read(cls, folder: Path, split: str) -> Frames:
        """Reads every room of a split.

        Raises:
            FileNotFoundError: no room there.
        """
        stems = sorted(path.with_suffix("") for path in (folder / split).glob("*.json"))
        if not stems:
            raise FileNotFoundError(f"{folder / split} holds no rooms")
        height = FrameFolder.read(folder).height
        with ThreadPoolExecutor(2) as pool:
            rooms = list(pool.map(lambda stem: _read_room(stem, height), stems))
        things: list[Attributes] = []
        objects = []
        for _, ids, room_things in rooms:
            objects.append(torch.where(ids == NO_OBJECT, -1, ids.to(torch.int32) + len(things)))
            things += room_things
        return cls(torch.cat([images for images, _, _ in rooms]), torch.cat(objects), tuple(things))


def _read_room(stem: Path, height: int) -> tuple[Tensor, Tensor, list[Attributes]]:
    from PIL import Image

    with Image.open(stem.with_suffix(".jpg")) as image:
        color = torch.from_numpy(np.array(image.convert("RGB")))
    with Image.open(stem.with_suffix(".png")) as image:
        ids = torch.from_numpy(np.array(image))
    things = [Attributes(**thing) for thing in json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))]
    images = color.view(-1, height, *color.shape[1:]).permute(0, 3, 1, 2).contiguous()
    return images, ids.view(-1, height, ids.shape[1]), things
