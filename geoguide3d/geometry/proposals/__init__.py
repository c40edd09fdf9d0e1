"""Class-agnostic instance proposals without learned weights: superpoints merged bottom-up."""

from geoguide3d.geometry.proposals.affinity import fused_affinity
from geoguide3d.geometry.proposals.proposing import propose_masks
from geoguide3d.geometry.proposals.regions import touching_superpoints
from geoguide3d.geometry.proposals.settings import ProposalSettings, Surface

__all__ = ["ProposalSettings", "Surface", "fused_affinity", "propose_masks", "touching_superpoints"]
