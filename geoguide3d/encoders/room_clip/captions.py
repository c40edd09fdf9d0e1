"""Sentences about the objects of a room, and which objects each sentence is true of.

Truth follows from what an object is (category, colour, material), so a caption drawn for one object is also known to
be true or false of every other one. That is all the supervision RoomCLIP gets: it never sees a class index.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.encoders.room_clip import words
from geoguide3d.encoders.room_clip.vocabulary import UNKNOWN, Vocabulary, split_words


@dataclass(frozen=True)
class Attributes:
    """What captions may say about an object."""

    category: str
    color: str
    material: str


@dataclass(frozen=True)
class Caption:
    """A sentence and its meaning: it is true of an object of one of `categories` with this colour and material.

    Args:
        text: the sentence.
        categories: None for any; empty for a sentence that is true of nothing.
        color: None for any.
        material: None for any.
    """

    text: str
    categories: frozenset[str] | None = None
    color: str | None = None
    material: str | None = None

    def is_true_of(self, thing: Attributes) -> bool:
        """Returns whether the sentence describes the object."""
        return (
            (self.categories is None or thing.category in self.categories)
            and self.color in (None, thing.color)
            and self.material in (None, thing.material)
        )


def truth_table(things: Sequence[Attributes], captions: Sequence[Caption]) -> Tensor:
    """Returns (objects, captions) bool: whether the caption is true of the object."""
    kinds = {thing: row for row, thing in enumerate(dict.fromkeys(things))}
    table = torch.tensor([[caption.is_true_of(kind) for caption in captions] for kind in kinds], dtype=torch.bool)
    return table.view(len(kinds), len(captions))[[kinds[thing] for thing in things]]


# Weights of the ways to speak of an object: (a method of CaptionWriter, how often).
_FORMS = (("name", 34), ("color_name", 22), ("material_name", 8), ("color_material_name", 8), ("color", 6),
          ("material", 4), ("kind", 5), ("purpose", 7), ("generic", 2), ("unknown", 4))  # fmt: skip
_TEMPLATES = ("{}", "{}", "{}", "a {}", "a {}", "a {}", "the {}", "one {}", "this is a {}", "there is a {}",
              "a photo of a {}", "a photo of the {}", "an image of a {}", "a {} in a room", "the {} in the room",
              "a {} in a scene", "a photo of a {} in a room", "my {}", "some {}", "find the {}",
              "where is the {}", "show me the {}")  # fmt: skip


class CaptionWriter:
    """Writes captions that are true of an object.

    Args:
        categories: every category that may be named.

    Raises:
        ValueError: a category that `words.NAMES` does not know.
    """

    def __init__(self, categories: Iterable[str]) -> None:
        known = set(categories)
        if unnamed := known - words.NAMES.keys():
            raise ValueError(f"geoguide3d/encoders/room_clip/words.py has no names for {sorted(unnamed)}")
        self._meanings: dict[str, frozenset[str]] = {}  # phrase: the categories it is true of
        for category in sorted(known):
            for name in names_of(category):
                self._meanings[name] = self._meanings.get(name, frozenset()) | {category}
        self._names = {category: names_of(category) for category in known}
        self._kinds = _by_category(words.KINDS, known)
        self._purposes = _by_category(words.PURPOSES, known)

    def write(self, thing: Attributes, rng: random.Random) -> Caption:
        """Returns a random caption that is true of the object (or, rarely, one of unknown words, true of nothing)."""
        forms, weights = zip(*_FORMS, strict=True)
        caption: Caption = getattr(self, f"_{rng.choices(forms, weights)[0]}")(thing, rng)
        return caption

    def _name(self, thing: Attributes, rng: random.Random) -> Caption:
        name, meaning = self._noun(thing, rng)
        return Caption(_sentence(_plural(name) if rng.random() < 0.15 else name, rng), meaning)

    def _color_name(self, thing: Attributes, rng: random.Random) -> Caption:
        name, meaning = self._noun(thing, rng)
        return Caption(_sentence(f"{_color(thing, rng)} {name}", rng), meaning, thing.color)

    def _material_name(self, thing: Attributes, rng: random.Random) -> Caption:
        name, meaning = self._noun(thing, rng)
        before, after = words.MATERIAL_NAMES[thing.material]
        phrase = f"{rng.choice(before)} {name}" if rng.random() < 0.7 else f"{name} made of {rng.choice(after)}"
        return Caption(_sentence(phrase, rng), meaning, None, thing.material)

    def _color_material_name(self, thing: Attributes, rng: random.Random) -> Caption:
        name, meaning = self._noun(thing, rng)
        material = rng.choice(words.MATERIAL_NAMES[thing.material][0])
        phrase = f"{_color(thing, rng)} {material} {name}"
        return Caption(_sentence(phrase, rng), meaning, thing.color, thing.material)

    def _color(self, thing: Attributes, rng: random.Random) -> Caption:
        color = _color(thing, rng)
        phrase = rng.choice((color, f"something {color}", f"{color} {rng.choice(words.GENERIC)}", f"it is {color}"))
        return Caption(phrase, None, thing.color)

    def _material(self, thing: Attributes, rng: random.Random) -> Caption:
        before, after = (rng.choice(names) for names in words.MATERIAL_NAMES[thing.material])
        phrases = (before, after, f"{before} {rng.choice(words.GENERIC)}", f"something made of {after}")
        return Caption(rng.choice(phrases), None, None, thing.material)

    def _kind(self, thing: Attributes, rng: random.Random) -> Caption:
        if thing.category not in self._kinds:
            return self._name(thing, rng)
        kind, meaning = rng.choice(self._kinds[thing.category])
        phrase = f"piece of {kind}" if kind == "furniture" and rng.random() < 0.5 else kind
        if rng.random() < 0.3:
            return Caption(_sentence(f"{_color(thing, rng)} {phrase}", rng), meaning, thing.color)
        return Caption(_sentence(phrase, rng), meaning)

    def _purpose(self, thing: Attributes, rng: random.Random) -> Caption:
        if thing.category not in self._purposes:
            return self._color_name(thing, rng)
        purpose, meaning = rng.choice(self._purposes[thing.category])
        if rng.random() < 0.2:
            return Caption(f"something {_color(thing, rng)} {purpose}", meaning, thing.color)
        start = rng.choice(("something ", "a thing ", "", "a place " if purpose.startswith("to ") else "it is "))
        return Caption(f"{start}{purpose}", meaning)

    def _generic(self, thing: Attributes, rng: random.Random) -> Caption:
        return Caption(rng.choice(("something", "anything", _sentence(rng.choice(words.GENERIC), rng))))

    def _unknown(self, thing: Attributes, rng: random.Random) -> Caption:
        """An unknown adjective is passed over; an unknown noun is true of nothing, whatever is said about it."""
        name, meaning = self._noun(thing, rng)
        choice = rng.randrange(4)
        if choice == 0:
            return Caption(_sentence(f"{UNKNOWN} {name}", rng), meaning)
        if choice == 1:
            return Caption(_sentence(f"{_color(thing, rng)} {UNKNOWN}", rng), frozenset())
        return Caption(_sentence(UNKNOWN if choice == 2 else f"{UNKNOWN} {UNKNOWN}", rng), frozenset())

    def _noun(self, thing: Attributes, rng: random.Random) -> tuple[str, frozenset[str]]:
        names = self._names[thing.category]
        name = names[0] if rng.random() < 0.5 else rng.choice(names)
        return name, self._meanings[name]


def names_of(category: str) -> tuple[str, ...]:
    """Returns what a category is called, its own word first."""
    return (category, *words.NAMES[category])


def _color(thing: Attributes, rng: random.Random) -> str:
    others = words.COLOR_NAMES.get(thing.color, ())
    return rng.choice(others) if others and rng.random() < 0.3 else thing.color


def _by_category(phrases: dict[str, tuple[str, ...]], known: set[str]) -> dict[str, list[tuple[str, frozenset[str]]]]:
    table: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for phrase, categories in phrases.items():
        for category in known.intersection(categories):
            table.setdefault(category, []).append((phrase, frozenset(categories)))
    return table


def _sentence(phrase: str, rng: random.Random) -> str:
    sentence = rng.choice(_TEMPLATES).format(phrase)
    return sentence.replace(f"a {phrase}", f"an {phrase}") if phrase[0] in "aeiou" else sentence


def _plural(name: str) -> str:
    if name.endswith(("drapes", "books")):
        return name
    if name.endswith("shelf"):
        return f"{name[:-1]}ves"
    return f"{name}es" if name.endswith(("s", "x", "sh", "ch")) else f"{name}s"


def vocabulary_of(things: Iterable[Attributes], writer: CaptionWriter, seed: int) -> Vocabulary:
    """Returns the words of many captions of the objects: what these objects can make training say."""
    rng = random.Random(seed)
    captions = (writer.write(thing, rng) for thing in dict.fromkeys(things) for _ in range(200))
    return Vocabulary(word for caption in captions for word in split_words(caption.text))
