from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from geoguide3d.encoders.room_clip import scoring
from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames

COLORS = ("red", "green", "blue")
CATEGORIES = ("wall", "picture", "lamp")


class Oracle:
    """Knows every object: a vector holds a one-hot category and a one-hot colour, so do the texts."""

    relevant_cosine = 0.6
    vocabulary = COLORS + CATEGORIES

    def __init__(self, frames: Frames, confuses: dict[str, str] | None = None) -> None:
        self._frames, self._confuses = frames, confuses or {}

    @staticmethod
    def vector(category: str, color: str | None) -> Tensor:
        vector = torch.zeros(6)
        vector[CATEGORIES.index(category)] = 1.0
        if color:
            vector[3 + COLORS.index(color)] = 1.0
        return vector / vector.norm()

    def encode_text(self, prompts: list[str]) -> Tensor:
        words = [prompt.split()[1:] for prompt in prompts]
        return torch.stack([self.vector(found[-1], found[0] if len(found) > 1 else None) for found in words])

    def encode_images(self, images: list[Tensor], names: list[str]) -> list[Tensor]:
        (image,) = images
        number = next(n for n, known in enumerate(self._frames.images) if torch.equal(known.permute(1, 2, 0), image))
        table = [self.vector(t.category, self._confuses.get(t.color, t.color)) for t in self._frames.things]
        return [torch.stack(table)[self._frames.objects[number].long()]]


def judge(monkeypatch: pytest.MonkeyPatch, folder: Path, split: str, confuses: dict[str, str] | None = None) -> dict:
    oracle = Oracle(Frames.read(folder, split), confuses)
    for encoder in ("RoomClipImageEncoder", "RoomClipTextEncoder"):
        monkeypatch.setattr(getattr(scoring, encoder), "load", lambda *_: oracle)
    return scoring.judge(Path("unused"), folder, split)


def test_an_oracle_is_always_right(monkeypatch: pytest.MonkeyPatch, fake_frames: Path) -> None:
    scores = judge(monkeypatch, fake_frames, "test")
    assert scores["mean_iou"] == scores["accuracy"] == scores["precision"] == scores["recall"] == 1.0
    assert scores["iou"] == dict.fromkeys(CATEGORIES, 1.0)
    for pairs, objects in (("held_out_pairs", 9), ("seen_pairs", 18)):  # lamps; walls and pictures
        assert scores[pairs] == {"color": 1.0, "category": 1.0, "pair": 1.0, "objects": objects}


def test_a_color_blind_one_still_knows_categories(monkeypatch: pytest.MonkeyPatch, fake_frames: Path) -> None:
    scores = judge(monkeypatch, fake_frames, "test", confuses={"blue": "red"})
    assert scores["mean_iou"] == 1.0
    assert scores["held_out_pairs"] == {"color": 0.0, "category": 1.0, "pair": 0.0, "objects": 9}


def test_a_split_without_held_out_pairs_asks_none(monkeypatch: pytest.MonkeyPatch, fake_frames: Path) -> None:
    names = FrameFolder.read(fake_frames)
    scores = judge(monkeypatch, fake_frames, "validation")
    assert names.held_out == (("lamp", "blue"),)
    assert scores["held_out_pairs"]["objects"] == 0
    assert scores["seen_pairs"]["objects"] == 27
