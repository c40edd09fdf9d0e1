from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.encoders.room_clip.vocabulary import Vocabulary, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red CHAIR.", ["a", "red", "chair"]),
        ("  potted-plant, (green) ", ["potted", "plant", "green"]),
        ("a <unknown> chair", ["a", "<unknown>", "chair"]),
        ("éclair 2", ["éclair", "2"]),
        ("...", []),
    ],
)
def test_split_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_ids_do_not_depend_on_the_order_of_words() -> None:
    first, second = Vocabulary(["chair", "a", "red"]), Vocabulary(["red", "chair", "a", "a"])
    assert first.words == second.words == ("<padding>", "<unknown>", "a", "chair", "red")


def test_ids_pad_cut_and_mark_unknown_words() -> None:
    vocabulary = Vocabulary(["a", "chair", "red"])
    ids = vocabulary.ids([["a", "toaster"], ["a", "red", "chair", "chair", "a"]], max_words=4)
    assert ids.tolist() == [[2, 1, 0, 0], [2, 4, 3, 3]]


def test_file_round_trip(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["chair", "naïve", "a"])
    (tmp_path / "words.txt").write_text(vocabulary.as_text(), encoding="utf-8")
    assert Vocabulary.read(tmp_path / "words.txt").words == vocabulary.words
