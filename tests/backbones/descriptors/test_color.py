"""color: hue, saturation and value of known colours."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.backbones.descriptors.color import chroma


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ([1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0]),
        ([0.0, 0.5, 0.0], [-0.5, 3**0.5 / 2, 1.0, 0.5]),
        ([0.0, 0.0, 1.0], [-0.5, -(3**0.5) / 2, 1.0, 1.0]),
        ([0.6, 0.6, 0.6], [0.0, 0.0, 0.0, 0.6]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        ([0.8, 0.4, 0.4], [0.5, 0.0, 0.5, 0.8]),
    ],
    ids=["red", "dark green", "blue", "grey", "black", "pink"],
)
def test_chroma(rgb: list[float], expected: list[float]) -> None:
    actual = chroma(torch.tensor([rgb], dtype=torch.float64))
    torch.testing.assert_close(actual, torch.tensor([expected], dtype=torch.float64))
