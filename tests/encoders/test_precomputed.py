"""The teacher from files: its sum over classes, and every file that is missing or wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide3d.encoders.precomputed import PrecomputedSettings, PrecomputedTeacher
from geoguide3d.encoders.protocols import ImageEncoder
from geoguide3d.encoders.text_table import TextTable, TextTableSettings

TEXT = TextTable(["chair", "couch"], torch.eye(2), TextTableSettings())


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    (tmp_path / "classes.json").write_text(json.dumps({"background": "background", "sofa": "couch"}))
    (tmp_path / "probabilities").mkdir()
    planes = np.stack([np.full((2, 3), 51), np.full((2, 3), 204)]).astype(np.uint8)
    planes[:, 1, 2] = 255, 0
    np.savez(tmp_path / "probabilities" / "00003.npz", probabilities=planes)
    return tmp_path


def test_pixels_are_probabilities_times_text_vectors(scene_folder: Path) -> None:
    teacher = PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)
    assert isinstance(teacher, ImageEncoder)
    assert (teacher.channels, teacher.text_space, teacher.reads_images) == (2, TEXT.text_space, False)
    (pixels,) = teacher.encode_images([None], ["00003"])
    background, couch = TEXT.encode_text(["background", "couch"])
    torch.testing.assert_close(pixels[0, 0], 0.2 * background + 0.8 * couch)
    torch.testing.assert_close(pixels[1, 2], background)
    assert pixels.shape == (2, 3, 2)


def test_the_content_is_that_of_the_views_asked_for_and_of_the_words(scene_folder: Path) -> None:
    before = PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)
    key = before.content(["00003"])
    np.savez(scene_folder / "probabilities" / "00004.npz", probabilities=np.zeros((2, 1, 1), dtype=np.uint8))
    assert before.content(["00003"]) == key != before.content(["00003", "00004"])
    (scene_folder / "classes.json").write_text(json.dumps({"background": "background", "sofa": "chair"}))
    assert PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT).content(["00003"]) != key
    np.savez(scene_folder / "probabilities" / "00003.npz", probabilities=np.zeros((2, 2, 3), dtype=np.uint8))
    assert before.content(["00003"]) != key


def test_float_probabilities_are_not_scaled(scene_folder: Path) -> None:
    np.savez(scene_folder / "probabilities" / "a.npz", probabilities=np.full((2, 1, 1), 0.5, dtype=np.float16))
    (pixels,) = PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT).encode_images([None], ["a"])
    torch.testing.assert_close(pixels[0, 0], 0.5 * TEXT.encode_text(["background", "couch"]).sum(dim=0))


def test_missing_files_are_named(scene_folder: Path) -> None:
    teacher = PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)
    with pytest.raises(FileNotFoundError, match=r"00004\.npz"):
        teacher.encode_images([None], ["00004"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PrecomputedTeacher.load(scene_folder, PrecomputedSettings(folder="nowhere"), TEXT)
    with pytest.raises(FileNotFoundError, match=r"names\.json"):
        PrecomputedTeacher.load(scene_folder, PrecomputedSettings(classes="names.json"), TEXT)


@pytest.mark.parametrize("content", ["[", "[]", "{}", '{"sofa": 1}'])
def test_damaged_class_file_is_named(scene_folder: Path, content: str) -> None:
    (scene_folder / "classes.json").write_text(content)
    with pytest.raises(ValueError, match=r"classes\.json"):
        PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)


def test_class_without_a_text_vector_is_told(scene_folder: Path) -> None:
    (scene_folder / "classes.json").write_text('{"sofa": "settee"}')
    with pytest.raises(ValueError, match="'settee' is not among the 2 words"):
        PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)


def test_wrong_frames_are_named(scene_folder: Path) -> None:
    teacher = PrecomputedTeacher.load(scene_folder, PrecomputedSettings(), TEXT)
    file = scene_folder / "probabilities" / "00003.npz"
    np.savez(file, probabilities=np.zeros((3, 2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"00003\.npz: expected \(2, h, w\), one plane per class, got \(3, 2, 2\)"):
        teacher.encode_images([None], ["00003"])
    np.savez(file, other=np.zeros((2, 2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"00003\.npz: not an \.npz with an entry 'probabilities'"):
        teacher.encode_images([None], ["00003"])
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"00003\.npz"):
        teacher.encode_images([None], ["00003"])
