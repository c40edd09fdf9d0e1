"""Open-vocabulary 3D segmentation: a point cloud and words in, the points that are meant out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoguide3d.distillation.adapter import Adapter as Adapter
    from geoguide3d.query.model import GeoGuide as GeoGuide
    from geoguide3d.scenes.scene import Scene as Scene

__version__ = "0.1.0"

# Names are resolved on first use, so that `from geoguide3d import Adapter` needs torch and safetensors alone.
_HOMES = {
    "Adapter": "geoguide3d.distillation.adapter",
    "GeoGuide": "geoguide3d.query.model",
    "Scene": "geoguide3d.scenes.scene",
}
__all__ = ["Adapter", "GeoGuide", "Scene", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'geoguide3d' has no attribute {name!r}")
