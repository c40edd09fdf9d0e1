"""Sonata: a frozen Point Transformer V3, pre-trained without labels on indoor scans."""

from __future__ import annotations

from typing import ClassVar

from geoguide3d.backbones.ptv3.backbone import InputTransform, PTv3Backbone


class Sonata(PTv3Backbone):
    """Sonata's encoder with its published transform: centred, one point per 2 cm voxel, colours 0 … 1, normals.

    Source: Wu et al. 2025, "Sonata: Self-Supervised Learning of Reliable Point Representations"; its `transform.py`.
    """

    name = "sonata"
    transforms: ClassVar = {"indoor": InputTransform(0.02)}
    published: ClassVar = dict.fromkeys(("sonata.pth", "sonata_small.pth"), "CC-BY-NC-4.0")
