"""What can be set when images become features of points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from geoguide3d.geometry.visibility import VisibilityRule
from geoguide3d.ops.devices import usable_device


@dataclass(frozen=True)
class Weighting:
    """How much a sighting counts: the product of the factors that are switched on. By default all count alike.

    Formulas are in `fusion/weights.py`.

    Args:
        viewing_angle: surfaces seen face-on count most, those seen edge-on nothing. Takes the scene's normals, which
            are estimated where it has none.
        half_distance_m: the distance from the camera at which a sighting counts half; None: distance does not matter.
        border_fade_px: pixels of the camera image over which the weight rises from 0 at the image's edge to 1.

    Raises:
        ValueError: a distance that is not positive, or a negative border.
    """

    viewing_angle: bool = False
    half_distance_m: float | None = None
    border_fade_px: float = 0.0

    def __post_init__(self) -> None:
        if self.half_distance_m is not None and not self.half_distance_m > 0:
            raise ValueError(f"half_distance_m must be above 0, got {self.half_distance_m}")
        if not self.border_fade_px >= 0:
            raise ValueError(f"border_fade_px must be at least 0, got {self.border_fade_px}")


@dataclass(frozen=True)
class FusionSettings:
    """How images become features of points.

    Args:
        rule: when a point counts as seen by a view.
        interpolation: "nearest" takes the feature of the pixel that a point falls into, "bilinear" blends the four
            around it.
        weighting: how much each sighting counts.
        variance: also say how much the views of a point disagree.
        images_per_call: images that the encoder gets at once; more need more memory.
        device: torch device of the (N, C) accumulator.

    Raises:
        ValueError: an unknown interpolation, a batch of no images, or a device that is not there.
    """

    rule: VisibilityRule = field(default_factory=VisibilityRule)
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    weighting: Weighting = field(default_factory=Weighting)
    variance: bool = False
    images_per_call: int = 4
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.interpolation not in ("nearest", "bilinear"):
            raise ValueError(f'interpolation must be "nearest" or "bilinear", got {self.interpolation!r}')
        if self.images_per_call < 1:
            raise ValueError(f"images_per_call must be at least 1, got {self.images_per_call}")
        usable_device(self.device)
