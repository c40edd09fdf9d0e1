from __future__ import annotations

import random

import pytest
import torch

from geoguide3d.encoders.room_clip import words
from geoguide3d.encoders.room_clip.captions import Attributes, Caption, CaptionWriter, truth_table, vocabulary_of
from geoguide3d.encoders.room_clip.vocabulary import UNKNOWN, split_words
from geoguide3d.scenes.rooms import CATEGORIES, COLORS, MATERIALS

RED_CHAIR = Attributes("chair", "red", "wood")
BLUE_CHAIR = Attributes("chair", "blue", "leather")
RED_SOFA = Attributes("sofa", "red", "leather")
GRAY_WALL = Attributes("wall", "gray", "plaster")
THINGS = (RED_CHAIR, BLUE_CHAIR, RED_SOFA, GRAY_WALL)


@pytest.fixture
def writer() -> CaptionWriter:
    return CaptionWriter(CATEGORIES)


def test_truth_table() -> None:
    seat = frozenset(words.KINDS["seat"])
    captions = [
        Caption("a chair", frozenset({"chair"})),
        Caption("a red chair", frozenset({"chair"}), color="red"),
        Caption("something made of leather", material="leather"),
        Caption("a seat", seat),
        Caption("a red leather seat", seat, "red", "leather"),
        Caption("a thing"),
        Caption("a <unknown>", frozenset()),
    ]
    expected = torch.tensor(
        [
            [True, True, False, True, False, True, False],
            [True, False, True, True, False, True, False],
            [False, False, True, True, True, True, False],
            [False, False, False, False, False, True, False],
        ]
    )
    assert torch.equal(truth_table(THINGS, captions), expected)


def test_every_caption_is_true_of_its_object_unless_its_noun_is_unknown(writer: CaptionWriter) -> None:
    rng = random.Random(0)
    for thing in THINGS:
        for _ in range(500):
            caption = writer.write(thing, rng)
            assert caption.is_true_of(thing) == (caption.categories != frozenset())
            assert caption.categories != frozenset() or UNKNOWN in caption.text


def test_a_caption_names_the_color_it_depends_on(writer: CaptionWriter) -> None:
    rng = random.Random(1)
    red = [caption for caption in (writer.write(RED_SOFA, rng) for _ in range(500)) if caption.color]
    assert red
    for caption in red:
        assert "red" in split_words(caption.text), caption
        assert not caption.is_true_of(BLUE_CHAIR)


def test_captions_vary_in_form(writer: CaptionWriter) -> None:
    rng = random.Random(2)
    texts = {writer.write(RED_SOFA, rng).text for _ in range(3000)}
    for expected in ("sofa", "a couch", "red", "a seat", "something to sit on", "a red leather sofa", "an object"):
        assert expected in texts


def test_same_seed_same_captions(writer: CaptionWriter) -> None:
    first, second = random.Random(3), random.Random(3)
    other = CaptionWriter(reversed(CATEGORIES))
    assert [writer.write(RED_SOFA, first) for _ in range(50)] == [other.write(RED_SOFA, second) for _ in range(50)]


def test_words_and_rooms_speak_of_the_same_things() -> None:
    assert set(words.NAMES) == set(CATEGORIES)
    assert set(words.MATERIAL_NAMES) == set(MATERIALS)
    assert set(words.COLOR_NAMES) <= set(COLORS)
    for categories in (*words.KINDS.values(), *words.PURPOSES.values()):
        assert set(categories) <= set(CATEGORIES)


def test_rejects_a_category_without_names() -> None:
    with pytest.raises(ValueError, match=r"words.py has no names for \['toaster'\]"):
        CaptionWriter(("chair", "toaster"))


def test_vocabulary_holds_only_words_of_the_objects_seen(writer: CaptionWriter) -> None:
    vocabulary = vocabulary_of(THINGS, writer, seed=0)
    for word in ("chair", "sofa", "couch", "red", "leather", "furniture"):
        assert word in vocabulary
    for word in ("bathtub", "purple", "ceramic"):
        assert word not in vocabulary
