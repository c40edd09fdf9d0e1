"""Superpoints and their boundaries as sums, so that those of a merged region are those of its parts added up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.proposals.settings import Surface
from geoguide3d.geometry.voxels import voxelize

CELL_M = 0.05


@dataclass(frozen=True)
class Regions:
    """What is known of Q superpoints and of the P pairs of them that touch.

    Args:
        sizes: (Q,) int64 points.
        areas_m2: (Q,) float64, by occupied cells of 5 cm.
        color_sums: (Q, 3) float64, zeros without colours.
        outlines: (Q,) int64 edges to other superpoints.
        pairs: (P, 2) int64, the smaller id first, rising.
        lengths: (P,) int64 edges between the two.
        concavity, color: (P,) float64 sums over these edges of how far the surface bends inwards there, up to 1, and
            how far colours differ.
    """

    sizes: Tensor
    areas_m2: Tensor
    color_sums: Tensor
    outlines: Tensor
    pairs: Tensor
    lengths: Tensor
    concavity: Tensor
    color: Tensor


def touching_superpoints(superpoints: Tensor, edges: Tensor) -> Tensor:
    """Returns (P, 2) int64, the pairs of superpoints with an edge between them, the smaller id first, rising.

    Args:
        superpoints: (N,) int64, 0 or more.
        edges: (E, 2) int64 pairs of points.
    """
    ends = superpoints[edges].sort(dim=1).values
    pairs: Tensor = torch.unique(ends[ends[:, 0] != ends[:, 1]], dim=0)
    return pairs


def find_regions(surface: Surface) -> Regions:
    """Returns the sums of all superpoints and boundaries."""
    count, of_point = surface.count, surface.superpoints
    sizes = torch.bincount(of_point, minlength=count)
    cells = voxelize(surface.points, CELL_M).voxel_of_point
    occupied = torch.unique(torch.stack([of_point, cells]), dim=1)[0]
    colors = torch.zeros_like(surface.points) if surface.colors is None else surface.colors
    color_sums = torch.zeros(count, 3, dtype=torch.float64).index_add_(0, of_point, colors.to(torch.float64))
    edges = surface.edges[of_point[surface.edges[:, 0]] != of_point[surface.edges[:, 1]]]
    ends = of_point[edges]
    low, high = ends.amin(dim=1), ends.amax(dim=1)
    keys, row, lengths = torch.unique(low * count + high, return_inverse=True, return_counts=True)
    start, end = edges.T
    normals = surface.normals.to(torch.float64)
    along = normalize(surface.points[end].to(torch.float64) - surface.points[start], dim=1)
    # Where normals come closer to each other on the way, the surface bends inwards.
    inwards = ((normals[start] - normals[end]) * along).sum(dim=1)
    differ = (colors[start] - colors[end]).norm(dim=1).to(torch.float64)

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(len(keys), dtype=torch.float64).index_add_(0, row, values)

    return Regions(
        sizes=sizes,
        areas_m2=torch.bincount(occupied, minlength=count) * CELL_M**2,
        color_sums=color_sums,
        outlines=torch.bincount(ends.flatten(), minlength=count),
        pairs=torch.stack([keys // max(count, 1), keys % max(count, 1)], dim=1),
        lengths=lengths,
        concavity=summed(inwards.clamp(0, 1)),
        color=summed(differ),
    )
