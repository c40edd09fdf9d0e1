"""Colour and depth images of posed frames, as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_EXIF_ORIENTATION = 0x0112
_DEEPEST = 65535  # of a 16-bit PNG


def image_size(path: Path) -> tuple[int, int]:
    """Reads (width, height) in pixels from the file's header, as `read_color` will turn it."""
    with _opened(path) as image:
        sideways = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if sideways else (image.width, image.height)


def read_color(path: Path) -> Tensor:
    """Reads an image as (H, W, 3) uint8 RGB.

    It is turned as its EXIF orientation says (as OpenCV does), 16-bit grey keeps its upper 8 bits, alpha is ignored,
    palettes and CMYK become RGB.

    Raises:
        ValueError: the file cannot be read as an image.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        upright.load()
    if upright.mode == "F":
        raise ValueError(f"{path}: a colour image of floats has no range; save it as JPEG or PNG")
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return torch.from_numpy(np.array(upright.convert("RGB")))


def read_depth(path: Path, units_per_metre: float) -> Tensor:
    """Reads a 16-bit PNG as (h, w) float32 metres, 0 = missing.

    Raises:
        ValueError: the file cannot be read, or is an 8-bit picture of depth and not depth.
    """
    with _opened(path) as image:
        mode, units = image.mode, np.asarray(image)
    if not mode.startswith("I"):
        raise ValueError(f"{path}: depth must be a 16-bit grey PNG, this one is {mode}; export raw depth")
    return torch.from_numpy(units.astype(np.float32) / np.float32(units_per_metre))


def write_color(path: Path, color: Tensor) -> None:
    """Writes (H, W, 3) uint8 RGB as a JPEG of quality 95."""
    Image.fromarray(color.cpu().numpy()).save(path, format="JPEG", quality=95)


def write_depth(path: Path, depth: Tensor, units_per_metre: float) -> None:
    """Writes (h, w) metres, 0 or non-finite = missing, as a 16-bit PNG.

    Raises:
        ValueError: a depth that 16 bits cannot hold at this scale.
    """
    units = np.rint(np.nan_to_num(depth.cpu().numpy().astype(np.float64), posinf=0.0, neginf=0.0) * units_per_metre)
    if units.min() < 0 or units.max() > _DEEPEST:
        raise ValueError(
            f"{path}: depth from {float(depth.min()):g} to {float(depth.max()):g} m does not fit 16 bits at "
            f"{units_per_metre:g} units per metre; take a smaller depth scale or mark such pixels as missing (0)"
        )
    Image.fromarray(units.astype(np.uint16)).save(path, format="PNG")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image")
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); copy or export it again") from error
