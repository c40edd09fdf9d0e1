"""OpenScene's conventions of projection, for numbers that must compare with its own (openscene @ 0f369bc)."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.geometry.visibility import VisibilityRule

SCANNET_RULE = VisibilityRule(depth_tolerance_m=0.0, depth_tolerance_ratio=0.25, border_px=10)
MATTERPORT_RULE = VisibilityRule(depth_tolerance_m=0.0, depth_tolerance_ratio=0.02, border_px=10)
NUSCENES_RULE = VisibilityRule(border_px=5, occlusion="none")


def openscene_intrinsics(intrinsics: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Returns the (3, 3) float64 intrinsics that OpenScene uses for an image resampled to another size.

    Its rule (`fusion_util.py`, adjust_intrinsic) supposes a resize that keeps the aspect, then a crop, and scales the
    principal point by (w' − 1) / (w − 1). Where the aspect changes it is pixels off; `Camera.resized` is exact.

    Args:
        intrinsics: (3, 3) pixels of the image of `size`.
        size: (width, height).
        new_size: (width, height).
    """
    (width, height), (new_width, new_height) = size, new_size
    scaled = intrinsics.to(torch.float64).clone()
    scaled[0, 0] *= (new_height * width // height) / width
    scaled[1, 1] *= new_height / height
    scaled[0, 2] *= (new_width - 1) / (width - 1)
    scaled[1, 2] *= (new_height - 1) / (height - 1)
    return scaled
