from __future__ import annotations

import math
import random

import pytest
import torch

from geoguide3d.encoders.room_clip.captions import Attributes, CaptionWriter
from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.objective import (
    Sampling,
    balancing_weights,
    caption_loss,
    contrasts,
    draw_captions,
    sample_pixels,
    sigmoid_losses,
)


def test_small_and_large_objects_give_equally_many_pixels() -> None:
    objects = torch.zeros(2, 20, 20, dtype=torch.int64)
    objects[:, :2, :4] = 5
    objects[:, 19] = -1
    chosen = sample_pixels(objects, Sampling(pixels_per_object=6, pixels_per_image=0), torch.Generator())
    seen = objects.flatten()[chosen]
    assert (seen == 0).sum() == (seen == 5).sum() == 12  # per image, though the object's row is the same
    assert (chosen < 400).sum() == 12
    assert len(chosen.unique()) == len(chosen)


def test_an_object_with_few_pixels_gives_all_of_them() -> None:
    objects = torch.zeros(1, 8, 8, dtype=torch.int64)
    objects[0, 3, 4:6] = 1
    chosen = sample_pixels(objects, Sampling(pixels_per_object=6, pixels_per_image=0), torch.Generator())
    assert sorted(chosen[objects.flatten()[chosen] == 1].tolist()) == [28, 29]


def test_further_pixels_come_from_anywhere_but_unlabelled_ones() -> None:
    objects = torch.zeros(4, 40, 40, dtype=torch.int64)
    objects[:, 20:] = -1
    chosen = sample_pixels(objects, Sampling(pixels_per_object=1, pixels_per_image=100), torch.Generator())
    assert 150 < len(chosen) < 260
    assert bool((objects.flatten()[chosen] == 0).all())


def test_rare_categories_are_spoken_of_as_often() -> None:
    things = [Attributes("wall", "gray", "plaster")] * 99 + [Attributes("lamp", "red", "glass")]
    captions = draw_captions(things, CaptionWriter(("wall", "lamp")), 200, random.Random(0))
    assert len({caption.text for caption in captions}) == len(captions)
    lamps = sum(caption.is_true_of(things[-1]) for caption in captions)
    walls = sum(caption.is_true_of(things[0]) for caption in captions)
    assert 0.5 < lamps / walls < 2


TRUTH = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])


def test_sigmoid_losses_are_those_of_their_equation() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0], [-3.0, 1.0, 0.5], [-4.0, -4.0, 4.0]])
    signs = torch.where(TRUTH, 1.0, -1.0)
    expected = [sum(math.log1p(math.exp(-z)) for z in row) for row in (signs * logits).tolist()]
    assert sigmoid_losses(logits, TRUTH).tolist() == pytest.approx(expected, rel=1e-5)


def test_contrasts_are_against_false_entries_alone() -> None:
    scaled = torch.tensor([[2.0, 1.0, 0.0], [3.0, 1.0, -1.0], [9.0, 9.0, 9.0]])

    def entry(true: float, *false: float) -> float:
        return -math.log(math.exp(true) / sum(map(math.exp, (true, *false))))

    expected = [entry(2, 1, 0), (entry(3, -1) + entry(1, -1)) / 2, 0.0]
    assert contrasts(scaled, TRUTH).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_row_of_truths_has_no_rival_and_no_loss() -> None:
    scaled = torch.zeros(1, 2, requires_grad=True)
    loss = contrasts(scaled, torch.ones(1, 2, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert scaled.grad is not None
    assert bool(torch.isfinite(scaled.grad).all())


def test_balancing_weights_fall_with_the_root_of_the_count() -> None:
    weights = balancing_weights(["wall"] * 4 + ["lamp"])
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights[4] / weights[0]).item() == pytest.approx(2.0)


def test_caption_loss_weighs_pixels_and_takes_features_of_any_length() -> None:
    model = RoomClip(RoomClipConfig(channels=2, stages=(4, 4, 4, 4), text_width=8, text_heads=2), word_count=3)
    texts, truth = torch.eye(2), torch.eye(2).bool()
    right, wrong = torch.tensor([3.0, 0.0]), torch.tensor([0.1, 0.0])  # for the first and for the second caption
    loss = caption_loss(model, torch.stack([right, wrong]), texts, truth, torch.tensor([0.5, 1.5]))
    # scale 10, bias -5: logits are 5 for the first caption and -5 for the second, scaled cosines 10 and 0
    sigmoid = (0.5 * 2 * softplus(-5) + 1.5 * 2 * softplus(5)) / 2
    contrast = (0.5 * softplus(-10) + 1.5 * softplus(10)) / 2
    columns = (softplus(0) + softplus(0)) / 2
    assert loss.item() == pytest.approx(0.25 * sigmoid + contrast + columns, rel=1e-4)
    assert model.relevant_cosine() == pytest.approx(0.5)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))
