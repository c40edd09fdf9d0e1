"""Words from a file: what is answered, what is refused and with which help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.encoders.text_table import TextTable, TextTableSettings

NAMES = ["chair", "Couch", "dining table", "potted plant", "lamp", "chair"]


@pytest.fixture
def table() -> TextTable:
    vectors = 3 * torch.eye(6)[:, :5]
    vectors[5] = 1.0
    return TextTable(NAMES, vectors, TextTableSettings())


def test_is_a_text_encoder(table: TextTable) -> None:
    assert isinstance(table, TextEncoder)
    assert (table.channels, table.text_space, table.relevant_cosine) == (5, "clip-vit-b-32/openai", None)


@pytest.mark.parametrize(
    ("prompt", "row"), [("chair", 0), ("a chair", 0), ("The COUCH", 1), (" dining  table ", 2), ("a potted plant", 3)]
)
def test_answers_listed_words_with_unit_vectors(table: TextTable, prompt: str, row: int) -> None:
    torch.testing.assert_close(table.encode_text([prompt]), torch.eye(5)[row : row + 1])


def test_background_is_the_mean_of_all_vectors(table: TextTable) -> None:
    (vector,) = table.encode_text(["background"])
    torch.testing.assert_close(vector, torch.nn.functional.normalize(table.vectors.mean(dim=0), dim=0))


def test_unlisted_word_names_five_nearest_and_the_model_that_would_answer(table: TextTable) -> None:
    with pytest.raises(ValueError, match="ViT-B-32-quickgelu/openai") as caught:
        table.encode_text(["chair", "a dinner table"])
    message = str(caught.value)
    assert message.startswith("'a dinner table' is not among the 5 words")
    assert "nearest are 'dining table', " in message
    assert message.count("'") == 2 * 6 + 1  # the prompt, five names, open_clip's


@pytest.mark.parametrize("prompt", ["", "  "])
def test_empty_prompt_is_refused(table: TextTable, prompt: str) -> None:
    with pytest.raises(ValueError, match="a prompt is empty"):
        table.encode_text([prompt])


def test_file_round_trip_is_bit_equal(table: TextTable, tmp_path: Path) -> None:
    table.save(tmp_path / "words.npz")
    again = TextTable.load(TextTableSettings(path=str(tmp_path / "words.npz")))
    assert again.names == table.names
    assert torch.equal(again.vectors, table.vectors)


def test_other_text_space_is_refused(table: TextTable, tmp_path: Path) -> None:
    table.save(tmp_path / "words.npz")
    with pytest.raises(ValueError, match="its text space is clip-vit-b-32/openai, not roomclip-1"):
        TextTable.load(TextTableSettings(path=str(tmp_path / "words.npz"), text_space="roomclip-1"))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    settings = TextTableSettings(path=str(tmp_path / "words.npz"))
    with pytest.raises(FileNotFoundError, match=r"words\.npz"):
        TextTable.load(settings)
    (tmp_path / "words.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"words\.npz: not an \.npz"):
        TextTable.load(settings)
    np.savez(tmp_path / "words.npz", names=np.array(["chair"]))
    with pytest.raises(ValueError, match="`names` and `embeddings`"):
        TextTable.load(settings)


def test_number_of_names_and_vectors_must_agree() -> None:
    with pytest.raises(ValueError, match="one vector per name"):
        TextTable(["chair"], torch.ones(2, 3), TextTableSettings())


def test_real_clip_vectors_know_what_is_alike(shared_data: Path) -> None:
    table = TextTable.load(TextTableSettings(path=str(shared_data / "clip_text" / "vit_b_32_text.npz")))
    couch, loveseat, plant = table.encode_text(["a couch", "loveseat", "potted plant"])
    assert couch @ loveseat > 0.93
    assert couch @ plant < 0.85
