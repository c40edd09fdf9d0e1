"""From class names to prompts."""

from __future__ import annotations

import pytest

from geoguide3d.encoders.prompts import class_prompt, without_article


@pytest.mark.parametrize(
    ("prompt", "bare"),
    [("a chair", "chair"), ("  The  red chair ", "red chair"), ("an", "an"), ("anvil", "anvil"), ("A an", "an")],
)
def test_without_article(prompt: str, bare: str) -> None:
    assert without_article(prompt) == bare


@pytest.mark.parametrize(
    ("name", "prompt"), [("chair", "a chair"), ("the floor", "the floor"), ("dining table", "a dining table")]
)
def test_class_prompt(name: str, prompt: str) -> None:
    assert class_prompt(name, "a {}") == prompt


def test_template_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="for the class name"):
        class_prompt("chair", "a photo")
