"""The simulated teacher of the ablation: what it knows, and each of the errors that it makes on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ablation_study.simulated import SimulatedEncoder
from ablation_study.teachers import SimulatedTeacher, category_words
from ablation_study.view_errors import (
    Errors,
    beyond_line,
    confusions,
    drawn_confusions,
    grown,
    shifted,
    turned,
)
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.encoders.protocols import ImageEncoder
from geoguide3d.evaluation.open_vocabulary import nearest_class
from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms import make_room
from geoguide3d.scenes.rooms.categories import CATEGORIES

HEIGHT, WIDTH = 24, 32
WALL, CHAIR, SOFA = (CATEGORIES.index(name) for name in ("wall", "chair", "sofa"))


@dataclass(frozen=True)
class FakeObject:
    category: str


@dataclass(frozen=True)
class FakeFrame:
    instances: Tensor


class FakeRoom:
    """A wall with a chair on its left half and a sofa on its right, the same from everywhere; nothing in one row."""

    name = "train_000000_fake"
    objects = tuple(FakeObject(name) for name in ("wall", "chair", "sofa"))

    def render(self, camera: Camera) -> FakeFrame:
        instances = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
        instances[6:18, 4:12], instances[6:18, 20:28], instances[-1] = 1, 2, -1
        return FakeFrame(instances)


def camera_heading(degrees: float) -> Camera:
    """Returns a camera that looks that way from the x axis towards the y axis, z up."""
    forward = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(down, forward), down, forward])
    return Camera(torch.eye(3, dtype=torch.float64), torch.from_numpy(pose), WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def words() -> Tensor:
    return normalize(torch.randn(len(CATEGORIES), 48, generator=torch.Generator().manual_seed(0)), dim=1)


def encoder(words: Tensor, errors: Errors, seed: int = 0, views: int = 60) -> tuple[SimulatedEncoder, list[str]]:
    cameras = {f"{view:06d}": camera_heading(360 * view / views) for view in range(views)}
    return SimulatedEncoder(FakeRoom(), cameras, words, errors, seed), list(cameras)


def said(words: Tensor, errors: Errors, seed: int = 0) -> Tensor:
    """Returns (V, H, W) the category nearest to what is said of each pixel."""
    made, names = encoder(words, errors, seed)
    return torch.stack([(pixels @ words.T).argmax(dim=2) for pixels in made.encode_images([None] * len(names), names)])


def truth() -> Tensor:
    return torch.tensor([WALL, CHAIR, SOFA])[FakeRoom().render(camera_heading(0)).instances[:-1]]


def test_no_errors_give_the_true_words(words: Tensor) -> None:
    made, names = encoder(words, Errors(1.0, 1.0, 1.0, 90.0).scaled(0.0))
    assert isinstance(made, ImageEncoder)
    (pixels,) = made.encode_images([None], names[:1])
    torch.testing.assert_close(pixels[:-1], words[truth()])
    assert float(pixels[-1].abs().max()) == 0  # nothing is shown there, nothing is said


def test_strength_scales_all_four() -> None:
    assert Errors(8.0, 0.4, 0.5, 40.0).scaled(0.5) == Errors(4.0, 0.2, 0.25, 20.0)


def test_same_seed_same_bits(words: Tensor) -> None:
    errors = Errors(4.0, 0.5, 0.5, 40.0)
    first, second = (encoder(words, errors)[0] for _ in range(2))
    names = ["000003", "000001"]
    forth, back = first.encode_images([None] * 2, names), second.encode_images([None] * 2, names[::-1])
    assert torch.equal(forth[0], back[1]) and torch.equal(forth[1], back[0])
    assert not torch.equal(forth[0], encoder(words, errors, seed=1)[0].encode_images([None], names[:1])[0])


def test_flips_change_whole_objects_as_often_as_asked(words: Tensor) -> None:
    found, right = said(words, Errors(flips=0.4)), truth()
    for label in (WALL, CHAIR, SOFA):
        of_object = found[:, :-1][:, right == label]
        assert bool((of_object == of_object[:, :1]).all())  # an object has one word in a view
        assert 0.2 < float((of_object[:, 0] != label).float().mean()) < 0.6


def test_what_is_flipped_with_few_errors_stays_so_with_many(words: Tensor) -> None:
    few, many = (said(words, Errors(flips=chance))[:, :-1] for chance in (0.2, 0.6))
    wrong = few != truth()
    assert bool(wrong.any()) and torch.equal(few[wrong], many[wrong])


def test_parts_say_wall_on_one_side_of_the_middle(words: Tensor) -> None:
    found, right = said(words, Errors(parts=1.0))[:, :-1], truth()
    chair = found[:, right == CHAIR]
    assert set(chair.unique().tolist()) == {WALL, CHAIR}
    assert 0.35 < float((chair == WALL).float().mean(dim=1).min()) <= 0.5  # the line goes through the middle
    assert bool((found[:, right == WALL] == WALL).all())


def test_bleeding_goes_no_farther_than_asked(words: Tensor) -> None:
    found, right = said(words, Errors(bleeding_px=2.0)), truth()
    wrong = (found[:, :-1] != right).any(dim=0)
    inside = torch.zeros_like(wrong)
    inside[9:15, 7:9] = True  # three pixels from the chair's border: two of growth and one of shift
    assert bool(wrong.any()) and not bool(wrong[inside].any()) and not bool(wrong[:, 15:17].any())


def test_drift_turns_with_the_heading_and_no_farther(words: Tensor) -> None:
    made, names = encoder(words, Errors(drift_degrees=30.0))
    chair = torch.stack([pixels[10, 6] for pixels in made.encode_images([None] * len(names), names)])
    degrees = torch.rad2deg(torch.arccos((chair @ words[CHAIR]).clamp(max=1)))
    assert float(degrees.min()) < 0.5 and 29 < float(degrees.max()) < 30.01
    farthest = int(degrees.argmax())
    assert float(degrees[(farthest + 30) % 60]) < 0.5  # seen from opposite it is right
    torch.testing.assert_close(chair.norm(dim=1), torch.ones(60))


def test_growing_objects_take_pixels_within_reach_and_none_of_nothing() -> None:
    ids = np.array([[0, 0, 0, 1, 0, 0, -1]])
    np.testing.assert_array_equal(grown(ids, np.array([False, True]), 2.0), [[0, 1, 1, 1, 1, 1, -1]])
    np.testing.assert_array_equal(grown(ids, np.array([True, False]), 1.0), [[0, 0, 0, 0, 0, 0, -1]])
    np.testing.assert_array_equal(grown(ids, np.array([False, True]), 0.5), ids)


def test_shift_repeats_the_edge() -> None:
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(shifted(ids, 1, 0), [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(shifted(ids, 0, -1), [[2, 3, 3], [5, 6, 6]])


def test_the_line_goes_through_the_middle_of_each_object() -> None:
    ids = np.array([[0, 0, 0, 0, 1, 1, -1]])
    cut = beyond_line(ids, np.array([True, True]), np.array([0.0, np.pi]))
    np.testing.assert_array_equal(cut, [[False, False, True, True, True, False, False]])
    assert not beyond_line(ids, np.array([False, False]), np.zeros(2)).any()


def test_alike_words_are_confused_more_often() -> None:
    words = normalize(torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [-1.0, 0.0, 0.3], [0.0, -1.0, 1.0]]), dim=1)
    chances = confusions(words)
    assert chances[0].argmax() == 1 and chances[1].argmax() == 0
    np.testing.assert_allclose(np.diag(chances), 0)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    labels = np.zeros(4, dtype=np.int64)
    drawn = drawn_confusions(
        np.array([[0.0, 0.7, 0.3], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), labels, np.array([0, 0.69, 0.71, 0.999])
    )
    np.testing.assert_array_equal(drawn, [1, 1, 2, 2])


def test_a_turn_has_its_angle_and_its_plane() -> None:
    start, towards = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.6, 0.8, 0.0]])
    half = turned(start, towards, torch.tensor([torch.pi / 6]))
    torch.testing.assert_close(half, torch.tensor([[3**0.5 / 2, 0.5, 0.0]]))
    torch.testing.assert_close(turned(start, towards, torch.zeros(1)), start)


def test_fused_the_teacher_says_the_truth_and_less_of_it_with_errors() -> None:
    pytest.importorskip("open3d")
    room, scores = make_room(0), []
    labels = room.scene().labels
    assert labels is not None
    for strength in (0.0, 1.0):
        fused = SimulatedTeacher(strength).fuse(room, views=4)
        seen = fused.abs().amax(dim=1) > 0
        scores.append(float((nearest_class(fused[seen], category_words()) == labels[seen]).float().mean()))
    assert scores[0] > 0.95 and scores[1] < 0.6
