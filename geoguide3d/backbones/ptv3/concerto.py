"""Concerto: Sonata's network, pre-trained with images beside the points, indoors and outdoors."""

from __future__ import annotations

from typing import ClassVar

from geoguide3d.backbones.network_input import Placement
from geoguide3d.backbones.ptv3.backbone import InputTransform, PTv3Backbone

_SIZES = ("tiny", "small", "base", "large", "base_origin", "large_origin", "base_siglip", "large_outdoor")


class Concerto(PTv3Backbone):
    """Concerto's encoder; the base size is Sonata's, the large one has 1728 channels.

    "indoor" is Sonata's transform. "outdoor" is that of `concerto_large_outdoor`, for lidar: 5 cm voxels that count as
    1 cm, x and y centred after sampling, heights as they are, zeros for colours and normals.

    Source: Zhang et al. 2025, "Concerto: Joint 2D-3D Self-Supervised Learning Emerges Spatial Representations"; its
    `demo/0_pca_outdoor.py`.
    """

    name = "concerto"
    transforms: ClassVar = {
        "indoor": InputTransform(0.02),
        "outdoor": InputTransform(0.05, scale=0.2, placement=Placement.GROUND, needs=()),
    }
    published: ClassVar = {f"concerto_{size}.pth": "CC-BY-NC-4.0" for size in _SIZES}
