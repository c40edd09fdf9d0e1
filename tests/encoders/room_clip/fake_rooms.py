"""Rooms of flat coloured shapes, for tests that must not need a renderer: a category is a shape on a wall."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.encoders.room_clip.captions import Attributes
from geoguide3d.encoders.room_clip.frames import FrameFolder

COLORS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}
NAMES = FrameFolder(("wall", "picture", "lamp"), tuple(COLORS), (("lamp", "blue"),), width=32, height=24)


@dataclass(frozen=True)
class FakeFrame:
    color: Tensor
    instances: Tensor


class FakeRoom:
    """A wall with one square picture and one round lamp; frames differ in where they are."""

    def __init__(self, seed: int, split: str) -> None:
        rng = random.Random(f"{seed} {split}")
        lamp_colors = ("blue",) if split == "test" else ("red", "green")
        self.objects = (
            Attributes("wall", rng.choice(tuple(COLORS)), "plaster"),
            Attributes("picture", rng.choice(tuple(COLORS)), "paper"),
            Attributes("lamp", rng.choice(lamp_colors), "glass"),
        )
        self._seed = seed

    def cameras(self, count: int, width: int, height: int) -> list[tuple[int, int, int]]:
        return [(self._seed * 100 + number, width, height) for number in range(count)]

    def render(self, camera: tuple[int, int, int]) -> FakeFrame:
        number, width, height = camera
        rng = random.Random(number)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
        instances = torch.zeros(height, width, dtype=torch.int64)
        x, y = rng.uniform(0.2, 0.4) * width, rng.uniform(0.3, 0.7) * height
        instances[((rows - y).abs() < height / 5) & ((columns - x).abs() < height / 5)] = 1
        x, y = rng.uniform(0.65, 0.8) * width, rng.uniform(0.3, 0.7) * height
        instances[(rows - y) ** 2 + (columns - x) ** 2 < (height / 5) ** 2] = 2
        instances[0] = -1
        palette = torch.tensor([COLORS[thing.color] for thing in self.objects], dtype=torch.uint8)
        color = palette[instances.clamp(min=0)]
        shade = torch.tensor([0.7, 1.0, 1.2])[instances.clamp(min=0)][..., None]
        return FakeFrame((color * shade).clamp(0, 255).to(torch.uint8), instances)
