"""What is held out stays out of training, and is all that tests use of shapes."""

from __future__ import annotations

from functools import cache

import pytest

from geoguide3d.scenes.rooms import CATEGORIES, COLORS, MATERIALS, Room, Split, is_held_out, make_room
from geoguide3d.scenes.rooms.categories import CATEGORY_OF, STRUCTURE
from geoguide3d.scenes.rooms.furniture import VARIANTS
from geoguide3d.scenes.rooms.layouts import LAYOUTS
from geoguide3d.scenes.rooms.materials import HELD_OUT_TEXTURES_OF, TEXTURES_OF, draw_paint
from geoguide3d.scenes.rooms.splits import SPLITS, held_out_color, stream, variants_for
from geoguide3d.scenes.rooms.textures import TEXTURES

SEEDS = range(200)
FURNITURE = [category for category in CATEGORIES if category not in STRUCTURE]


@cache
def _room(seed: int, split: Split = "train") -> Room:
    return make_room(seed, split)


def test_there_are_at_least_25_categories_with_5_differently_named_variants_each() -> None:
    assert len(CATEGORIES) >= 25
    assert set(VARIANTS) == set(FURNITURE)
    for category, variants in VARIANTS.items():
        assert len({variant.name for variant in variants}) == len(variants) >= 5, category


def test_no_variant_is_a_copy_of_another() -> None:
    for category, variants in VARIANTS.items():
        shapes = [variant.make(stream("train", 0, "shape")) for variant in variants]
        built = {b"".join(part.mesh.vertices.round(4).tobytes() for part in shape.parts) for shape in shapes}
        assert len(built) == len(variants), category


@pytest.mark.parametrize(("split", "seeds"), [("train", SEEDS), ("validation", SEEDS[:60])])
def test_training_never_holds_what_is_kept_for_the_test(split: Split, seeds: range) -> None:
    unseen_layouts = {layout.name for layout in LAYOUTS if layout.held_out}
    for seed in seeds:
        room = _room(seed, split)
        assert room.layout not in unseen_layouts
        for item in room.objects:
            assert not is_held_out(item.category, item.color), (room.name, item)


@pytest.mark.parametrize("split", SPLITS)
def test_rooms_of_a_split_show_its_shapes_alone(split: Split) -> None:
    for seed in SEEDS[:60]:
        for item in _room(seed, split).objects:
            if item.category not in STRUCTURE:
                names = {variant.name for variant in variants_for(item.category, split)}
                assert item.variant in names, (seed, item)


@pytest.mark.parametrize("category", FURNITURE)
def test_no_two_splits_share_a_shape_and_all_shapes_are_used(category: str) -> None:
    shapes = [variant.name for split in SPLITS for variant in variants_for(category, split)]
    assert sorted(shapes) == sorted(variant.name for variant in VARIANTS[category])


def test_test_rooms_use_held_out_pairs_and_layouts_often() -> None:
    items = [item for seed in SEEDS[:100] for item in _room(seed, "test").objects if item.category not in STRUCTURE]
    pairs = sum(is_held_out(item.category, item.color) for item in items) / len(items)
    assert 0.4 < pairs < 0.6
    unseen = {layout.name for layout in LAYOUTS if layout.held_out}
    assert unseen <= {_room(seed, "test").layout for seed in range(6)}


def test_textures_of_paints_are_split_too() -> None:
    for material in MATERIALS:
        seen = set(TEXTURES_OF[material])
        unseen = set(HELD_OUT_TEXTURES_OF.get(material, ()))
        assert not seen & unseen
        assert seen | unseen <= set(TEXTURES)
        for seed in range(40):
            assert draw_paint("red", material, "train", stream("train", seed, "paint")).texture in seen
        if unseen:
            drawn = {draw_paint("red", material, "test", stream("test", seed, "paint")).texture for seed in range(40)}
            assert drawn & unseen


def test_both_words_of_a_held_out_pair_are_seen_in_training() -> None:
    seen = {(item.category, item.color) for seed in SEEDS for item in _room(seed).objects}
    for category in FURNITURE:
        color = held_out_color(category)
        if color is None:
            assert len(CATEGORY_OF[category].colors) == 1
            continue
        assert color in CATEGORY_OF[category].colors
        assert any(pair[0] == category for pair in seen), category
        assert any(pair[1] == color for pair in seen), color
    assert {pair[1] for pair in seen} == set(COLORS)


def test_no_split_repeats_a_room_of_another() -> None:
    train, validation = _room(3), _room(3, "validation")
    assert (train.plan.width, train.plan.depth) != (validation.plan.width, validation.plan.depth)


def test_200_rooms_hold_40_of_every_category() -> None:
    counts = dict.fromkeys(CATEGORIES, 0)
    for seed in SEEDS:
        for item in _room(seed).objects:
            counts[item.category] += 1
    assert min(counts.values()) >= 40, counts
