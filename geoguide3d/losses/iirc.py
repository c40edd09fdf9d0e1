"""Inter-instance relation consistency: things that geometry finds alike should be alike in meaning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.losses.centring import centred
from geoguide3d.ops import gram_mse


@dataclass(frozen=True)
class IircSettings:
    """Which relations are compared, and how.

    Args:
        masks: compares the instances of a scene with each other.
        superpoints: compares its superpoints.
        normalize: relations are cosines. The paper's summary writes plain products, whose scale is the backbone's.
        centre_geometry: geometric features are seen from their mean over the scene's points.
        centre_semantic: outputs are seen from the mean unit image feature of the training scenes, so that their
            relations lie around 0, as those of centred geometry do. Otherwise the loss mostly widens the cone of all
            outputs, whatever geometry says (docs/ablation.md). Needs normalize.
        most_superpoints: of a scene in a step, drawn at random.

    Raises:
        ValueError: most_superpoints is not positive, nothing is compared, or centred outputs are not normalised.
    """

    masks: bool = True
    superpoints: bool = True
    normalize: bool = True
    centre_geometry: bool = False
    centre_semantic: bool = False
    most_superpoints: int = 2048

    def __post_init__(self) -> None:
        if self.most_superpoints < 1:
            raise ValueError(f"iirc.most_superpoints must be positive, got {self.most_superpoints}")
        if not (self.masks or self.superpoints):
            raise ValueError("iirc compares neither masks nor superpoints: set iirc_weight to 0 instead")
        if self.centre_semantic and not self.normalize:
            raise ValueError("iirc.centre_semantic compares cosines: set iirc.normalize too")


def iirc(
    geometric: Tensor,  # (S, G)
    semantic: Tensor,  # (S, C)
    settings: IircSettings,
    centre: Tensor | None = None,  # (G,)
    semantic_mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns the mean squared difference of the relations of S things in geometry and in meaning, a scalar.

    GeoGuide 2026, inter-instance relation consistency. Geometry gets no gradient. No things give 0.

    Args:
        geometric: (S, G) mean geometric feature of each thing, a mask or a superpoint.
        semantic: (S, C) mean output of each.
        centre: (G,) what geometry is seen from where `centre_geometry` is set.
        semantic_mean: (C,) what outputs are seen from where `centre_semantic` is set, `centring.centred`.

    Raises:
        ValueError: what the settings need is missing.
    """
    geometric = geometric.detach()
    if settings.centre_geometry:
        if centre is None:
            raise ValueError("iirc.centre_geometry needs the mean geometric feature of the scene")
        geometric = geometric - centre.detach()
    if settings.centre_semantic:
        if semantic_mean is None:
            raise ValueError("iirc.centre_semantic needs the mean unit image feature of the training scenes")
        semantic = centred(semantic, semantic_mean)
    return gram_mse(geometric, semantic, settings.normalize)


def drawn_superpoints(count: int, settings: IircSettings, generator: torch.Generator) -> Tensor:
    """Returns (S,) int64 superpoints of a step, ascending: all, or most_superpoints at random."""
    if count <= settings.most_superpoints:
        return torch.arange(count)
    order = torch.randperm(count, generator=generator, device=generator.device)
    return order[: settings.most_superpoints].sort().values
