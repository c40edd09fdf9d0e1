"""Furniture stands where it can: inside, on something, and in nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from geoguide3d.scenes.rooms import Split, make_room
from geoguide3d.scenes.rooms.placement import Boxes, Pose, box_around
from geoguide3d.scenes.rooms.shape import Shape

ROOMS: list[tuple[int, Split]] = [(seed, split) for seed in range(18) for split in ("train", "test")]


@pytest.mark.parametrize(("seed", "split"), ROOMS)
def test_objects_do_not_stand_in_each_other_and_stay_inside(seed: int, split: Split) -> None:
    room = make_room(seed, split)
    boxes = [Boxes.of(placed.shape, placed.pose) for placed in room.placed]
    for index, one in enumerate(boxes):
        assert room.plan.holds(one), room.placed[index]
        for other in boxes[index + 1 :]:
            assert not one.overlaps(other, tolerance_m=0.016).any()


@pytest.mark.parametrize(("seed", "split"), ROOMS)
def test_everything_stands_on_something_or_hangs_on_a_wall_or_the_ceiling(seed: int, split: Split) -> None:
    room = make_room(seed, split)
    boxes = [Boxes.of(placed.shape, placed.pose) for placed in room.placed]
    for index, placed in enumerate(room.placed):
        low = boxes[index].z[:, 0].min()
        if low < 0.03 or boxes[index].z[:, 1].max() > room.plan.height - 0.01:
            continue
        below = Boxes(boxes[index].center, boxes[index].half, boxes[index].yaw, boxes[index].z - 0.06)
        others = [box for other, box in enumerate(boxes) if other != index]
        on_something = any(below.overlaps(box, tolerance_m=0.0).any() for box in others)
        on_wall = not room.plan.holds(boxes[index], margin_m=0.2)
        assert on_something or on_wall, (room.name, placed.category, placed.variant)


def test_rooms_hold_12_to_25_objects() -> None:
    for seed in range(40):
        for split in ("train", "test"):
            assert 12 <= len(make_room(seed, split).objects) <= 25


def test_anchored_things_are_by_their_anchors() -> None:
    monitors = cushions = 0
    for seed in range(36):
        placed = make_room(seed).placed
        for item in placed:
            if item.category == "monitor":
                monitors += 1
                assert item.pose.z > 0.6  # on a desk or a table, never on the floor
            if item.category == "cushion":
                cushions += 1
                near = [other for other in placed if other.category in ("sofa", "bed", "armchair")]
                away = [np.hypot(item.pose.x - other.pose.x, item.pose.y - other.pose.y) for other in near]
                assert min(away) < 1.3
    assert monitors > 3
    assert cushions > 5


def test_boxes_overlap_known_answers() -> None:
    shape = Shape()
    shape.box("main", (1.0, 0.2, 1.0), (0.0, 0.0, 0.0))
    unit = box_around((-0.5, -0.5, 0.0), (0.5, 0.5, 1.0))
    for pose, answer in (
        (Pose(0.9, 0.0, 0.0, 0.0), True),
        (Pose(0.9, 0.0, 0.0, np.pi / 2), False),  # turned, it no longer reaches
        (Pose(0.9, 0.0, 1.01, 0.0), False),  # above
        (Pose(0.72, 0.72, 0.0, -np.pi / 4), False),  # bounding boxes overlap, the boxes do not
        (Pose(0.52, 0.52, 0.0, -np.pi / 4), True),
    ):
        assert bool(Boxes.of(shape, pose).overlaps(unit).any()) is answer, pose
