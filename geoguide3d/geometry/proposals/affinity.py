"""How surely two superpoints that touch belong to one thing, by what images say of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.ops import segment_mean


def fused_affinity(
    features: Tensor,  # (N, C)
    counts: Tensor,  # (N,)
    superpoints: Tensor,  # (N,) int64
    pairs: Tensor,  # (P, 2) int64
) -> Tensor:
    """Returns (P,) float64 in [0, 1], NaN where views say nothing: do they see the two superpoints as alike?

    A superpoint's feature is the mean of its points' fused features, each of unit length. From these the mean over all
    superpoints is taken off, because features of images share a large common part; the affinity is the cosine, from 0
    at right angles or beyond to 1.

    Args:
        features: fused features, un-normalised, as `fuse_views` gives them.
        counts: views that saw each point; points that none saw are left out.
        superpoints: ids from 0.
        pairs: of `touching_superpoints`.
    """
    seen = (counts > 0).nonzero().squeeze(1)
    count = int(superpoints.max()) + 1 if len(superpoints) else 0
    of_seen = superpoints[seen]
    means = segment_mean(normalize(features[seen].to(torch.float32), dim=1), of_seen, count).to(torch.float64)
    known = torch.bincount(of_seen, minlength=count) > 0
    centered = normalize(means - means[known].mean(dim=0), dim=1)
    first, second = pairs.unbind(1)
    cosine = (centered[first] * centered[second]).sum(dim=1).clamp(0, 1)
    return torch.where(known[first] & known[second], cosine, torch.nan)
