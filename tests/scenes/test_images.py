from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide3d.scenes.images import image_size, read_color, read_depth, write_color, write_depth

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]], [[0, 0, 0], [9, 99, 199]]], dtype="u1")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "1"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(RGB).convert(mode).save(path)
    color = read_color(path)
    assert (tuple(color.shape), color.dtype) == ((3, 2, 3), torch.uint8)
    expected = Image.fromarray(RGB).convert(mode).convert("RGB")
    np.testing.assert_array_equal(color.numpy(), np.asarray(expected))
    assert color[1, 1].tolist() == [255, 255, 255]


def test_alpha_is_ignored(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, np.zeros((3, 2), "u1")])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_color(tmp_path / "a.png").numpy(), RGB)


def test_16_bit_grey_keeps_its_upper_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0x12FF], [0x8000, 0xFFFF]], dtype="u2")).save(tmp_path / "a.png")
    assert read_color(tmp_path / "a.png")[..., 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_and_its_size_alike(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    color = read_color(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (color.shape[1], color.shape[0])
    # The stored first row is, by EXIF's table, the top, top, bottom, bottom, left, right, right or left of the scene.
    turned = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1]}
    turned |= {5: RGB.swapaxes(0, 1), 6: np.rot90(RGB, -1), 7: np.rot90(RGB, 2).swapaxes(0, 1), 8: np.rot90(RGB)}
    np.testing.assert_array_equal(color.numpy(), turned[orientation])


def test_depth_in_metres_and_back(tmp_path: Path) -> None:
    depth = torch.tensor([[0.0, 0.5, 1.2344], [65.535, float("nan"), float("inf")]])
    write_depth(tmp_path / "a.png", depth, 1000)
    back = read_depth(tmp_path / "a.png", 1000)
    torch.testing.assert_close(back, torch.tensor([[0.0, 0.5, 1.234], [65.535, 0.0, 0.0]]), rtol=0, atol=1e-3)
    torch.testing.assert_close(read_depth(tmp_path / "a.png", 4000), back / 4)


@pytest.mark.parametrize("metres", [65.6, -1.0])
def test_refuses_depth_that_16_bits_cannot_hold(tmp_path: Path, metres: float) -> None:
    with pytest.raises(ValueError, match=r"a\.png: depth from .* does not fit 16 bits at 1000 units per metre"):
        write_depth(tmp_path / "a.png", torch.full((2, 2), metres), 1000)


def test_refuses_a_picture_of_depth(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: depth must be a 16-bit grey PNG, this one is RGB"):
        read_depth(tmp_path / "a.png", 1000)


def test_refuses_a_colour_image_of_floats(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), "f4")).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: a colour image of floats"):
        read_color(tmp_path / "a.tif")


def test_missing_image_is_named(tmp_path: Path) -> None:
    for read in (image_size, read_color, lambda path: read_depth(path, 1000)):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.png: no such image"):
            read(tmp_path / "nowhere.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_files_are_always_a_value_error_with_their_name(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(0)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.tile(RGB, (6, 8, 1))).save(path)
    whole = path.read_bytes()
    rounds, read_anyway, refused = 200, 0, 0
    for _ in range(rounds):
        damaged = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.5 else whole)
        for _ in range(min(3, len(damaged))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        for read in (image_size, read_color):
            try:
                read(path)
                read_anyway += 1
            except ValueError as error:
                refused += str(error).startswith(f"{path}: not a readable image")
    assert refused > rounds / 2
    assert refused + read_anyway == 2 * rounds


def test_colour_is_written_as_a_jpeg_of_quality_95(tmp_path: Path) -> None:
    write_color(tmp_path / "a.jpg", torch.from_numpy(np.full((16, 16, 3), 77, dtype="u1")))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
        assert max(image.quantization[0]) <= 12  # quality 75 has 61
    assert int((read_color(tmp_path / "a.jpg").int() - 77).abs().max()) <= 1
