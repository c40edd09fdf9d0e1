"""An image encoder that knows the true word of every pixel of a room's frames and says it with errors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ablation_study.view_errors import (
    Errors,
    Ids,
    beyond_line,
    confusions,
    drawn_confusions,
    grown,
    shifted,
    turned,
)
from geoguide3d.encoders.room_clip.encoders import TEXT_SPACE
from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.categories import CATEGORIES
from geoguide3d.scenes.rooms.room import Room


class SimulatedEncoder:
    """Gives every pixel of a room's views the vector of its category, spoilt; an ImageEncoder.

    What is drawn for an object in a view depends on seed, room, view and object alone, and not on how much of each
    error there is: what is wrong with few errors stays wrong with many.

    Args:
        room: whose views are encoded.
        cameras: by name of the view.
        words: (K, C) unit vectors of CATEGORIES, in the space of RoomCLIP.
        errors: how much of each kind.
        seed: of all that is drawn.
    """

    text_space = TEXT_SPACE
    reads_images = False

    def __init__(self, room: Room, cameras: dict[str, Camera], words: Tensor, errors: Errors, seed: int = 0) -> None:
        self.channels = words.shape[1]
        self._room, self._cameras, self._words, self._errors, self._seed = room, cameras, words, errors, seed
        self._labels: Ids = np.array([CATEGORIES.index(item.category) for item in room.objects])
        self._chances = confusions(words)
        random = self._stream("drift")
        drawn = drawn_confusions(self._chances, self._labels, random.random(len(self._labels)))
        self._drifts_to = words[torch.from_numpy(drawn)]
        self._drifts_from = random.uniform(0, 2 * np.pi, len(self._labels))  # heading of the camera that sees it right

    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        """Returns one (H, W, C) float32 map per view, zeros where it shows nothing; images are not looked at."""
        return [self._encode(name) for name in names]

    def _encode(self, name: str) -> Tensor:
        camera, errors, objects = self._cameras[name], self._errors, len(self._labels)
        random = self._stream(name)
        grows, flips, to, parts = random.random((4, objects))
        line, (way,) = random.uniform(0, 2 * np.pi, objects), random.uniform(0, 2 * np.pi, 1)
        ids: Ids = self._room.render(camera).instances.numpy()
        ids = grown(ids, grows < 0.5, errors.bleeding_px)
        reach = errors.bleeding_px / 2
        ids = shifted(ids, round(reach * np.sin(way)), round(reach * np.cos(way)))
        flipped = flips < errors.flips
        labels = np.where(flipped, drawn_confusions(self._chances, self._labels, to), self._labels)
        said = turned(self._words[torch.from_numpy(labels)], self._drifts_to, self._drift(camera))
        wall, nothing = self._words[CATEGORIES.index("wall")], torch.zeros(self.channels)
        table = torch.cat([said, torch.stack([wall, nothing])])
        rows = np.where(beyond_line(ids, parts < errors.parts, line), objects, np.where(ids < 0, objects + 1, ids))
        return table[torch.from_numpy(rows)]

    def _drift(self, camera: Camera) -> Tensor:
        """Returns (O,) radians: 0 from the side that each object is seen right from, the whole drift from opposite."""
        x, y = camera.camera_from_world[2, :2].tolist()
        around = (1 - np.cos(np.arctan2(y, x) - self._drifts_from)) / 2
        return torch.from_numpy(np.radians(self._errors.drift_degrees) * around).to(torch.float32)

    def _stream(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(self._room.name.encode()), zlib.crc32(purpose.encode())])
