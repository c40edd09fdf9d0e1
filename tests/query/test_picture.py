"""The picture: its colours, what it cuts away, and that the answer is in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide3d.query.picture import answer_colors, draw_answer, prompt_colors, scene_colors
from geoguide3d.query.result import QueryResult
from geoguide3d.scenes.scene import Scene


def answer_for(scene: Scene, mask: torch.Tensor) -> QueryResult:
    return QueryResult(("a box",), mask.float().unsqueeze(1), mask.long() - 1, mask.unsqueeze(1))


def count_like(image: Image.Image, color: torch.Tensor) -> int:
    """Pixels of that colour, darker ones included."""
    pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 255)
    hue = torch.nn.functional.normalize(pixels, dim=2) @ torch.nn.functional.normalize(color, dim=0)
    return int((hue > 0.999).sum())


def test_colours_are_distinct_beyond_the_palette() -> None:
    colors = prompt_colors(20)
    assert colors.shape == (20, 3)
    assert torch.pdist(colors).min() > 0.05


def test_answer_is_coloured_and_the_rest_grey(room: Scene) -> None:
    labels = torch.full((len(room),), -1)
    labels[-3:] = 1
    colors = answer_colors(room, labels)
    assert (colors[:-3].amax(dim=1) - colors[:-3].amin(dim=1)).max() < 1e-6
    cosines = torch.nn.functional.cosine_similarity(colors[-3:], prompt_colors(2)[1:])
    assert cosines.min() > 0.9999


def test_a_scene_without_colours_is_neutral(room: Scene) -> None:
    assert scene_colors(replace(room, colors=None)).unique().numel() == 1


def test_the_answer_is_seen_on_the_right_from_both_sides(room: Scene) -> None:
    picture = draw_answer(room, answer_for(room, room.points[:, 2] > 0.4))
    color = prompt_colors(1)[0]
    right = picture.crop((picture.width // 2, 0, picture.width, picture.height))
    for half in (right.crop((0, 0, right.width, right.height // 2)), right.crop((0, right.height // 2, *right.size))):
        assert count_like(half, color) > 2000
    left = picture.crop((0, 0, picture.width // 2, picture.height - 80))
    assert count_like(left, color) == 0


def test_a_ceiling_is_cut_away(room: Scene) -> None:
    ceiling = torch.cartesian_prod(torch.linspace(0, 2, 41), torch.linspace(0, 2, 41), torch.tensor([2.6]))
    points = torch.cat([room.points, ceiling])
    closed = Scene(points, up=room.up, name="closed")
    mask = (points[:, 2] > 0.4) & (points[:, 2] < 1)
    assert count_like(draw_answer(closed, answer_for(closed, mask)), prompt_colors(1)[0]) > 4000


def test_an_empty_answer_is_a_picture_too(room: Scene) -> None:
    picture = draw_answer(room, answer_for(room, torch.zeros(len(room), dtype=torch.bool)))
    assert picture.width > 1500


def test_needs_to_know_which_way_is_up(room: Scene) -> None:
    with pytest.raises(ValueError, match="needs the scene's up direction"):
        draw_answer(replace(room, up=None), answer_for(room, torch.ones(len(room), dtype=torch.bool)))
