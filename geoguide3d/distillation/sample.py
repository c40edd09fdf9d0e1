"""What one training step sees of one scene."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geoguide3d.geometry.masks import PointMasks


@dataclass(frozen=True)
class Sample:
    """Some points of one scene, P of them, taught by images or not, and what geometry says about them.

    Args:
        geometric: (P, G) float32 features of the frozen backbone.
        targets: (P, C) float32 fused features of the images, un-normalised; 0 where no view saw the point.
        taught: (P,) bool, the points that some view saw.
        superpoints: (P,) int64, contiguous from 0, cut to the P points as masks are. None: the scene has none.
        masks: class-agnostic instances over the P points, cut to them. None: the scene has none.
        points: (P, 3) float32 metres, for what hides parts of instances by place. None: not kept.
    """

    geometric: Tensor
    targets: Tensor
    taught: Tensor
    superpoints: Tensor | None = None
    masks: PointMasks | None = None
    points: Tensor | None = None

    def __len__(self) -> int:
        return len(self.geometric)
