"""From a backbone's name, as stored with every model, to the backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import FrozenBackbone

_WITHOUT_WEIGHTS: dict[str, Callable[..., FrozenBackbone]] = {"descriptors": Descriptors}


def load_backbone(name: str, config: dict[str, Any], weights: Path | None) -> FrozenBackbone:
    """Returns the backbone of that name, built from its config and its checkpoint.

    Args:
        config: keyword arguments of the backbone, as its own `config` gives them.
        weights: the checkpoint; None for backbones that have none.

    Raises:
        ValueError: an unknown name, a config that the backbone does not understand, or weights for a backbone
            that has none.
    """
    if name not in _WITHOUT_WEIGHTS:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(sorted(_WITHOUT_WEIGHTS))}")
    if weights is not None:
        raise ValueError(f"backbone {name!r} has no weights, but {weights} was given; leave the file out")
    try:
        return _WITHOUT_WEIGHTS[name](**config)
    except TypeError as error:
        raise ValueError(f"backbone {name!r} does not understand its config {config}: {error}") from error
