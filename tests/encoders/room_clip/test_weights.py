from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.vocabulary import Vocabulary
from geoguide3d.encoders.room_clip.weights import (
    EMBEDDED_WEIGHTS,
    read_room_clip,
    vocabulary_path,
    write_room_clip,
)

SIZES = RoomClipConfig(channels=8, stages=(4, 4, 6, 6), text_width=8, text_heads=2)
WORDS = Vocabulary(["a", "chair", "red"])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_room_clip(tmp_path / "tiny.safetensors", RoomClip(SIZES, len(WORDS)), SIZES, WORDS)
    return tmp_path / "tiny.safetensors"


def test_round_trip(written: Path) -> None:
    torch.manual_seed(0)
    expected = RoomClip(SIZES, len(WORDS)).state_dict()
    model, config, vocabulary = read_room_clip(written)
    assert config == SIZES
    assert vocabulary.words == WORDS.words
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), expected[name].float(), atol=2e-3), name


def test_shipped_weights_are_small_and_half() -> None:
    assert EMBEDDED_WEIGHTS.stat().st_size < 4_000_000
    assert {tensor.dtype for tensor in load_file(EMBEDDED_WEIGHTS).values()} == {torch.float16}


def test_shipped_vocabulary_is_small() -> None:
    vocabulary = Vocabulary.read(vocabulary_path(EMBEDDED_WEIGHTS))
    assert 100 < len(vocabulary) <= 4000
    assert "sofa" in vocabulary
    assert "toaster" not in vocabulary


def test_rejects_another_vocabulary(written: Path) -> None:
    vocabulary_path(written).write_text("chair\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tiny\.txt has 3 words, tiny\.safetensors was trained with 5"):
        read_room_clip(written)


def test_rejects_other_files(tmp_path: Path, written: Path) -> None:
    save_file({"weight": torch.zeros(2)}, written)
    with pytest.raises(ValueError, match="not a RoomCLIP file"):
        read_room_clip(written)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is missing; tools/train_room_clip\.py writes it"):
        read_room_clip(tmp_path / "none.safetensors")
