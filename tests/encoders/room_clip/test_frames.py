from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames, RoomCounts, render_frames
from tests.encoders.room_clip.fake_rooms import COLORS, NAMES, FakeRoom


def test_what_was_rendered_is_read(fake_frames: Path) -> None:
    frames = Frames.read(fake_frames, "train")
    assert frames.images.shape == (24, 3, 24, 32)
    assert frames.images.dtype == torch.uint8
    assert frames.objects.shape == (24, 24, 32)
    assert len(frames.things) == 24
    assert frames.things[3:6] == FakeRoom(1, "train").objects


def test_objects_are_those_of_the_room_that_a_frame_shows(fake_frames: Path) -> None:
    frames = Frames.read(fake_frames, "train")
    for number, (image, objects) in enumerate(zip(frames.images, frames.objects, strict=True)):
        room = number // 3
        assert set(objects.unique().tolist()) == {-1, 3 * room, 3 * room + 1, 3 * room + 2}
        assert bool((objects[0] == -1).all())
        wall = image[:, objects == 3 * room].float().median(1).values
        expected = torch.tensor(COLORS[frames.things[3 * room].color]) * 0.7
        assert float((wall - expected).abs().max()) < 12  # JPEG


def test_folder_round_trip(fake_frames: Path) -> None:
    assert FrameFolder.read(fake_frames) == NAMES


def test_a_stopped_rendering_goes_on(tmp_path: Path, fake_frames: Path) -> None:
    counts = RoomCounts(2, 1, 1, views=3)
    asked: list[tuple[int, str]] = []

    def stops_at_second(seed: int, split: str) -> FakeRoom:
        if seed == 1:
            raise KeyboardInterrupt
        return FakeRoom(seed, split)

    def notes(seed: int, split: str) -> FakeRoom:
        asked.append((seed, split))
        return FakeRoom(seed, split)

    with pytest.raises(KeyboardInterrupt):
        render_frames(tmp_path, NAMES, counts, stops_at_second)
    with pytest.raises(FileNotFoundError, match=r"frames\.json is missing: render the frames first"):
        FrameFolder.read(tmp_path)
    render_frames(tmp_path, NAMES, counts, notes)
    assert asked == [(1, "train"), (0, "validation"), (0, "test")]
    for name in ("room_00000.jpg", "room_00001.png", "room_00001.json"):
        assert (tmp_path / "train" / name).read_bytes() == (fake_frames / "train" / name).read_bytes()


def test_rejects_a_split_without_rooms(fake_frames: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holiday holds no rooms"):
        Frames.read(fake_frames, "holiday")
