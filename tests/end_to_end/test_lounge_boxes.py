"""The boxes drawn in the lounge hold what they say, and little else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.scene import Scene
from tests.end_to_end.lounge_boxes import UNSURE, MarkedPoints, marked_points, owning_box, read_boxes


@pytest.fixture(scope="module")
def lounge(shared_data: Path) -> Scene:
    return read_scene(shared_data / "lounge")


@pytest.fixture(scope="module")
def marked(lounge: Scene) -> MarkedPoints:
    return marked_points(lounge)


def test_every_box_holds_points(lounge: Scene) -> None:
    owner = owning_box(lounge.points_world, read_boxes())
    counts = torch.bincount(owner[owner >= 0], minlength=len(read_boxes()))
    assert int(counts.min()) >= 100  # black chairs are mostly holes: the depth camera does not see them


def test_boxes_overlap_little(lounge: Scene) -> None:
    """Boxes of different labels, except the backpack, which lies on the couch, and what is unsure."""
    held: dict[str, torch.Tensor] = {}
    for box in read_boxes():
        if box.label not in (UNSURE, "backpack"):
            held[box.label] = box.holds(lounge.points_world) | held.get(box.label, torch.tensor(False))
    labels = torch.stack(list(held.values()))
    assert int((labels.sum(dim=0) > 1).sum()) <= 0.01 * int(labels.any(dim=0).sum())


def test_masks_are_disjoint_and_leave_the_floor_out(lounge: Scene, marked: MarkedPoints) -> None:
    every = torch.stack([*marked.masks.values(), marked.unsure])
    assert int(every.sum(dim=0).max()) == 1
    floor = lounge.points_world[:, 1] < -1.52
    assert int(floor.sum()) > 60_000
    assert not bool((every & floor).any())


def test_points_look_like_what_they_are(lounge: Scene, marked: MarkedPoints) -> None:
    """A beige couch, wooden tables, black chairs, dark green plants."""
    assert lounge.colors is not None
    red, green, blue = (
        torch.stack([lounge.colors[marked.of(name)].mean(dim=0) for name in ("couch", "dining table", "chair")])
    ).T.tolist()
    assert red[0] > green[0] > blue[0] > 0.3
    assert red[1] > green[1] > blue[1] > 0.2
    assert max(red[2], green[2], blue[2]) < 0.2
    plant = lounge.colors[marked.of("potted plant")]
    assert float(plant.mean()) < 0.15
    assert torch.equal(marked.of("loveseat"), marked.of("couch"))


def test_table_tops_are_level(lounge: Scene, marked: MarkedPoints) -> None:
    heights = lounge.points_world[marked.of("dining table"), 1]
    assert float(heights.std()) < 0.03
