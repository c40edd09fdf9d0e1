"""propose_masks: overlapping, scored instance masks of a scene, from its surface alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.geometry.proposals.merging import MergeTree, merge_regions
from geoguide3d.geometry.proposals.planes import find_planes
from geoguide3d.geometry.proposals.regions import Regions, find_regions
from geoguide3d.geometry.proposals.settings import ProposalSettings, Surface

_COPLANAR = 0.97  # cosine of the normals of two planes that are one


def propose_masks(
    surface: Surface, settings: ProposalSettings | None = None, affinity: Tensor | None = None
) -> PointMasks:
    """Returns masks of things and of parts of things, the surest first; they overlap and need not cover.

    Superpoints that touch are merged two by two, the most alike first (`ProposalSettings` lists the cues), which makes
    a tree. Floor, walls and ceiling merge with nothing but their own continuation. A region of the tree scores by the
    cost of the merge that takes it in (1 where none does), less for what its own last merge cost, times what its area
    gives: what stands alone and is of one piece is surest. The same input gives the same masks.

    Args:
        affinity: (P,) in [0, 1] of the pairs of `touching_superpoints(surface.superpoints, surface.edges)`: how surely
            both belong to one thing, NaN where it is not known; see `fused_affinity`.

    Raises:
        ValueError: an affinity of another shape or out of [0, 1].
    """
    settings = ProposalSettings() if settings is None else settings
    regions = find_regions(surface)
    if affinity is not None:
        affinity = _checked(affinity, len(regions.pairs))
    planes, normals = find_planes(surface, regions, settings.plane_m2)
    first, second = regions.pairs.unbind(1)
    one_plane = (normals[first] * normals[second]).sum(dim=1) > _COPLANAR
    mergeable = (planes[first] == planes[second]) & (~planes[first] | one_plane)
    tree = merge_regions(regions, mergeable, affinity, settings)
    return _masks(surface, _chosen(tree, regions, settings))


@dataclass(frozen=True)
class _Chosen:
    """(K,) regions of a tree and their scores, the surest first; (T,) parents."""

    nodes: Tensor
    scores: Tensor
    parent: Tensor


def _chosen(tree: MergeTree, regions: Regions, settings: ProposalSettings) -> _Chosen:
    parent = tree.parent.tolist()
    leaves = len(regions.sizes)
    sizes = [*regions.sizes.tolist(), *[0] * (len(parent) - leaves)]
    areas = [*regions.areas_m2.tolist(), *[0.0] * (len(parent) - leaves)]
    for node, above in enumerate(parent):
        if above >= 0:
            sizes[above] += sizes[node]
            areas[above] += areas[node]
    cost = tree.cost.tolist()
    scores = [
        (cost[above] if above >= 0 else 1.0)
        * (1 - settings.inner_cost * cost[node])
        * (area / (area + settings.half_area_m2) if area > 0 else 0.0)
        for node, (above, area) in enumerate(zip(parent, areas, strict=True))
    ]
    order = sorted((n for n in range(len(parent)) if sizes[n] >= settings.least_points), key=lambda n: -scores[n])
    kept: list[int] = []
    taken: set[int] = set()
    below: dict[int, list[int]] = {}  # chosen regions inside of a region
    for node in order:
        # Regions of a tree lie inside of each other or apart, so their IoU is the ratio of their sizes.
        chain = _ancestors(parent, node)
        doubles = any(n in taken and sizes[node] >= settings.duplicate_iou * sizes[n] for n in chain)
        doubles |= any(sizes[n] >= settings.duplicate_iou * sizes[node] for n in below.get(node, ()))
        if not doubles:
            kept.append(node)
            taken.add(node)
            for above in chain:
                below.setdefault(above, []).append(node)
            if len(kept) == settings.most_masks:
                break
    return _Chosen(torch.tensor(kept, dtype=torch.int64), torch.tensor([scores[n] for n in kept]), tree.parent)


def _ancestors(parent: list[int], node: int) -> list[int]:
    found = []
    while (node := parent[node]) >= 0:
        found.append(node)
    return found


def _masks(surface: Surface, chosen: _Chosen) -> PointMasks:
    """Returns the chosen regions as masks over points: each superpoint is in those above it."""
    row = {node: number for number, node in enumerate(chosen.nodes.tolist())}
    parent = chosen.parent.tolist()
    pairs = [
        (row[node], leaf) for leaf in range(surface.count) for node in (leaf, *_ancestors(parent, leaf)) if node in row
    ]
    owners, leaves = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    points = PointMasks.from_labels(surface.superpoints)  # ids without a point are no masks: leaves count all ids
    names = torch.unique(surface.superpoints)
    place = torch.full((surface.count,), -1)
    place[names] = torch.arange(len(names))
    parts = points.select(place[leaves])
    masks = owners.repeat_interleave(parts.sizes)
    by_point = parts.point_ids.argsort(stable=True)
    return PointMasks.from_pairs(
        masks[by_point], parts.point_ids[by_point], len(chosen.nodes), len(surface.points), chosen.scores
    )


def _checked(affinity: Tensor, pairs: int) -> Tensor:
    if affinity.shape != (pairs,) or not affinity.is_floating_point():
        raise ValueError(
            f"affinity must be ({pairs},) floats, one for each pair of touching superpoints, "
            f"got {tuple(affinity.shape)} {affinity.dtype}"
        )
    known = affinity[~affinity.isnan()]
    if len(known) and not 0 <= float(known.min()) <= float(known.max()) <= 1:
        raise ValueError(f"affinity must lie in [0, 1], got {float(known.min()):g} to {float(known.max()):g}")
    return affinity.to(torch.float64)
