"""Handcrafted geometric and colour features, the backbone that needs no weights."""

from __future__ import annotations

from geoguide3d.backbones.descriptors.backbone import Descriptors

__all__ = ["Descriptors"]
