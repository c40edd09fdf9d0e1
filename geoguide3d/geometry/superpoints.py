"""Superpoints: small pieces of surface that bend little, of a mesh or of a bare point cloud.

Both doors build edges, weigh them and join along them; the steps are separate (`ops.mesh_edges`, `neighbor_edges`,
`ops.edge_weights`, `unsided_weights`, `color_differences`, `ops.felzenszwalb`), so that a caller can change the
weights in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.geometry.normals import normals_from_neighbors
from geoguide3d.ops import edge_weights, felzenszwalb, knn, mesh_edges

NEIGHBORS = 10
REACH = 3.0  # in median edge lengths
CLOUD_COLOR_WEIGHT = 1.0
_NORMAL_NEIGHBORS, _NORMAL_RADIUS_M = 100, 0.03
_EDGES_PER_CHUNK = 1 << 20


@dataclass(frozen=True)
class SuperpointSettings:
    """How superpoints are made. The defaults are SAS's on meshes; ScanNet's published segments have a min_size of 20.

    Args:
        k_threshold: `kThresh` of the segmentator, in units of edge weights: greater means larger superpoints.
        min_size: `segMinVerts` of the segmentator, in points: smaller superpoints are joined to a neighbour. Where
            points are 2 cm apart, 20 keeps things for which 60 is too coarse (benchmarks/superpoints.py, rooms).
        color_weight: an edge weighs what its normals say and color_weight times the squared distance of its ends'
            RGB colours in [0, 1]. 0: geometry alone, as published. None: 0 on meshes and 1 on clouds with colours.
            At 1, a step of 0.1 in every channel counts as much as a concave fold of a mesh by 14 degrees.
        sided: of clouds. Whether normals are known to lie all on the same side of the surface, so that convex edges
            can be told from concave ones (`ops.edge_weights`, SAS's variant for points). Normals that were estimated
            from neighbours turn over along a surface, and each turn would cut it.
        neighbors: of clouds. Every point has edges to so many nearest others.
        reach: of clouds. Edges longer than this many median lengths are left out.

    Raises:
        ValueError: a color_weight that is negative or not finite.
    """

    k_threshold: float = 0.01
    min_size: int = 60
    color_weight: float | None = None
    sided: bool = False
    neighbors: int = NEIGHBORS
    reach: float = REACH

    def __post_init__(self) -> None:
        if self.color_weight is not None and not 0 <= self.color_weight < math.inf:
            raise ValueError(f"color_weight must be finite and not negative, got {self.color_weight}")


def superpoints_of_mesh(
    points: Tensor, faces: Tensor, settings: SuperpointSettings | None = None, colors: Tensor | None = None
) -> Tensor:
    """Returns (N,) int64 superpoints of a mesh's vertices, as ScanNet's segmentator finds them.

    Ids are contiguous from 0, in the order of each superpoint's first vertex. Vertices of no face (or only of faces
    without area) stay alone.

    Args:
        points: (N, 3) float32 vertices, any unit, any frame.
        faces: (F, 3) int64 rows of points.
        settings: None: the defaults.
        colors: (N, 3) float32 RGB in [0, 1]; read where settings.color_weight is above 0.

    Raises:
        ValueError: shapes, dtypes, devices or numbers that do not fit, a color_weight without colours, a face that
            names a vertex that does not exist (on CUDA a device-side assertion).
    """
    settings = settings or SuperpointSettings()
    edges, weights = mesh_edges(points, faces)
    weights = _with_colors(weights, edges, points, colors, settings.color_weight or 0.0)
    return felzenszwalb(edges, weights, len(points), settings.k_threshold, settings.min_size)


def superpoints_of_cloud(
    points: Tensor,
    normals: Tensor | None = None,
    settings: SuperpointSettings | None = None,
    colors: Tensor | None = None,
) -> Tensor:
    """Returns (N,) int64 superpoints of a cloud without faces, over the graph of `neighbor_edges`.

    Args:
        points: (N, 3) float32, finite, metres where normals are missing, else any unit.
        normals: (N, 3) float32 unit vectors. None: `local_normals`.
        settings, colors: as in `superpoints_of_mesh`; a color_weight of None is 1 where there are colours.

    Raises:
        ValueError: shapes, dtypes, devices or numbers that do not fit, a color_weight without colours, `sided`
            without normals.
    """
    settings = settings or SuperpointSettings()
    if settings.sided and normals is None:
        raise ValueError("sided superpoints need normals whose side is known: give them, or leave sided off")
    edges = neighbor_edges(points, settings.neighbors, settings.reach)
    if normals is None:
        normals = local_normals(points)
    elif normals.shape != points.shape:
        raise ValueError(f"normals must be {tuple(points.shape)} as points are, got {tuple(normals.shape)}")
    weights = edge_weights(points, normals, edges) if settings.sided else unsided_weights(normals, edges)
    default = CLOUD_COLOR_WEIGHT if colors is not None else 0.0
    color_weight = default if settings.color_weight is None else settings.color_weight
    weights = _with_colors(weights, edges, points, colors, color_weight)
    return felzenszwalb(edges, weights, len(points), settings.k_threshold, settings.min_size)


def local_normals(points: Tensor) -> Tensor:
    """Returns (N, 3) float32 unit normals of a cloud from the 100 nearest points within 3 cm (at least six).

    `normals_from_neighbors` by itself takes 30 within 10 cm. Where points are sparse, this is narrower, so that edges
    between surfaces stay sharp; where they are dense, it takes more, so that the noise of a depth sensor averages out.

    Args:
        points: (N, 3) any float dtype, finite, metres.
    """
    if len(points) == 0:
        return points.to(torch.float32)
    return normals_from_neighbors(points, _NORMAL_NEIGHBORS, _NORMAL_RADIUS_M)


def unsided_weights(normals: Tensor, edges: Tensor) -> Tensor:
    """Returns (E,) float32 weights (1 − |n_a·n_b|)² of edges (a, b), whatever sides the normals lie on.

    It is the weight that `ops.edge_weights` gives to convex edges: without sides none is known to be concave, and the
    square makes little of small angles, which are mostly noise where normals are estimated.

    Args:
        normals: (N, 3) float32 unit vectors.
        edges: (E, 2) int64 rows of normals.
    """
    return _per_edge(lambda a, b: (1 - (normals[a] * normals[b]).sum(1).abs()).square(), edges)


def color_differences(colors: Tensor, edges: Tensor) -> Tensor:
    """Returns (E,) float32 squared distances of the colours ((N, 3) RGB in [0, 1]) of the ends of edges (a, b)."""
    return _per_edge(lambda a, b: (colors[a] - colors[b]).square().sum(1), edges)


def numbered_by_first_point(ids: Tensor) -> Tensor:
    """Returns (N,) int64 ids of the same groups, 0, 1, … in the order of each group's first point.

    Args:
        ids: (N,) any integers.
    """
    names, groups = torch.unique(ids, return_inverse=True)
    rows = torch.arange(len(ids), device=ids.device)
    first = rows.new_full((len(names),), len(ids)).scatter_reduce_(0, groups, rows, "amin")
    return first.argsort().argsort()[groups]


def neighbor_edges(points: Tensor, neighbors: int = NEIGHBORS, reach: float = REACH) -> Tensor:
    """Returns (E, 2) int64 edges from every point to its nearest others: point by point, nearest first.

    Edges longer than `reach` times the median length are left out, so that surfaces a gap apart stay apart. The median
    is taken over the edges that have a length; points at the same place are joined by edges without one.

    Args:
        points: (N, 3) any float dtype, finite.
        neighbors: edges that start at each point, before any are left out.
        reach: infinity keeps all edges.

    Raises:
        ValueError: points that are not (N, 3) finite floats, fewer than 1 neighbour, or a reach that is not positive.
    """
    if neighbors < 1 or not reach > 0:
        raise ValueError(f"neighbors must be at least 1 and reach positive, got {neighbors} and {reach}")
    if points.ndim == 2 and len(points) == 0:
        return torch.empty(0, 2, dtype=torch.int64, device=points.device)
    ids, lengths = knn(points, neighbors + 1)
    starts = torch.arange(len(points), device=points.device)[:, None].expand_as(ids)
    is_other = ids != starts
    is_other[:, -1] &= ~is_other.all(1)  # among many points at one place, a point may not find itself
    edges, lengths = torch.stack([starts[is_other], ids[is_other]], 1), lengths[is_other]
    positive = lengths[lengths > 0]
    return edges[lengths <= reach * positive.median()] if len(positive) else edges


def _with_colors(weights: Tensor, edges: Tensor, points: Tensor, colors: Tensor | None, color_weight: float) -> Tensor:
    if color_weight == 0:
        return weights
    if colors is None:
        raise ValueError(f"color_weight is {color_weight}, but there are no colours; set it to 0")
    if colors.shape != points.shape:
        raise ValueError(f"colors must be {tuple(points.shape)} as points are, got {tuple(colors.shape)}")
    return weights + color_weight * color_differences(colors, edges)


def _per_edge(function: Callable[[Tensor, Tensor], Tensor], edges: Tensor) -> Tensor:
    """Returns function(a, b) of all edges, some at a time, because a cloud has ten times as many as points."""
    return torch.cat([function(some[:, 0], some[:, 1]) for some in torch.split(edges, _EDGES_PER_CHUNK)])
