"""Utonia: Point Transformer V3 with rotary attention (PT-v3m3), one encoder for rooms, streets and objects."""

from __future__ import annotations

from typing import ClassVar

from geoguide3d.backbones.network_input import Placement
from geoguide3d.backbones.ptv3.backbone import InputTransform, PTv3Backbone


class Utonia(PTv3Backbone):
    """Utonia's encoder, 1386 channels. Parity with its published code is not proven: no run of it was recorded.

    What is proven: names, shapes and numbers equal those of torch-pointcloud's port of it (0.0.18), within float32.
    "indoor": half the size, so 2 cm voxels count as 1 cm, then as Sonata's. "outdoor": 5 cm voxels count as 1 cm, and
    coordinates are the sensor's, with the road in the xy-plane; published for driving scans (nuScenes, Waymo).

    Source: Zhang et al. 2026, "Utonia: Toward One Encoder for All Point Clouds"; Pointcept's
    `point_transformer_v3m3_utonia.py` and `configs/utonia`.
    """

    name = "utonia"
    rotary = True
    transforms: ClassVar = {
        "indoor": InputTransform(0.02, scale=0.5),
        "outdoor": InputTransform(0.05, scale=0.2, placement=Placement.SENSOR),
    }
    published: ClassVar = dict.fromkeys(("utonia.pth", "utonia_small.pth", "utonia_tiny.pth"), "CC-BY-NC-4.0")
