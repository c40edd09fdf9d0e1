"""Encoders by name: from settings, into a model folder and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geoguide3d.encoders.loading import (
    TABLE_FILE,
    TeacherSettings,
    TextSettings,
    load_teacher,
    load_text_encoder,
    restore_text_encoder,
    save_text_encoder,
)
from geoguide3d.encoders.text_table import TextTable, TextTableSettings

TABLE = TextTable(["chair", "couch"], torch.eye(2), TextTableSettings())


def test_a_table_is_copied_into_the_model_folder_and_read_from_there(tmp_path: Path) -> None:
    record = save_text_encoder(TABLE, tmp_path)
    assert (record["kind"], record["text_space"]) == ("table", TABLE.text_space)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / TABLE_FILE).rename(moved / TABLE_FILE)
    again = restore_text_encoder(record, moved)
    torch.testing.assert_close(again.encode_text(["couch"]), TABLE.encode_text(["couch"]))


def test_settings_name_the_table(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "words.npz")
    text = load_text_encoder(TextSettings("table", TextTableSettings(path=str(tmp_path / "words.npz"))))
    assert text.channels == 2


def test_unknown_kinds_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text encoder 'siglip' is unknown"):
        restore_text_encoder({"kind": "siglip", "config": {}, "text_space": "x"}, tmp_path)


def test_an_encoder_without_a_kind_is_not_saved(tmp_path: Path) -> None:
    class Other:
        channels, text_space, relevant_cosine = 2, "x", None

        def encode_text(self, prompts: list[str]) -> torch.Tensor:
            return torch.zeros(len(prompts), 2)

    with pytest.raises(ValueError, match="Other has no place in a model folder"):
        save_text_encoder(Other(), tmp_path)


def test_teacher_of_another_text_space_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Images:
        channels, text_space, reads_images = 2, "roomclip-1", True

    monkeypatch.setattr("geoguide3d.encoders.loading.RoomClipImageEncoder.load", Images)
    with pytest.raises(ValueError, match=r"speaks roomclip-1, but text\.kind answers in clip-vit-b-32/openai"):
        load_teacher(TeacherSettings("room_clip"), tmp_path, TABLE)
