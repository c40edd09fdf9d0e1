"""Superpoints: small pieces of surface that bend little, of a mesh or of a bare point cloud.

Both doors build edges, weigh them and join along them; the steps are separate (`ops.mesh_edges`, `neighbor_edges`,
`ops.edge_weights`, `ops.felzenszwalb`), so that a caller can change the weights in between.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.geometry.normals import normals_from_neighbors
from geoguide3d.ops import edge_weights, felzenszwalb, knn, mesh_edges

NEIGHBORS = 10
REACH = 3.0  # in median edge lengths


def superpoints_of_mesh(points: Tensor, faces: Tensor, k_threshold: float = 0.01, min_size: int = 60) -> Tensor:
    """Returns (N,) int64 superpoints of a mesh's vertices, as ScanNet's segmentator finds them.

    Ids are contiguous from 0, in the order of each superpoint's first vertex. Vertices of no face (or only of faces
    without area) stay alone.

    Args:
        points: (N, 3) float32 vertices, any unit, any frame.
        faces: (F, 3) int64 rows of points.
        k_threshold: `kThresh` of the segmentator: greater means larger superpoints.
        min_size: `segMinVerts` of the segmentator: smaller superpoints are joined to a neighbour. 60 is SAS's choice,
            ScanNet's published segments have 20.

    Raises:
        ValueError: shapes, dtypes, devices or numbers that do not fit, a face that names a vertex that does not exist
            (on CUDA a device-side assertion).
    """
    return felzenszwalb(*mesh_edges(points, faces), len(points), k_threshold, min_size)


def superpoints_of_cloud(
    points: Tensor, normals: Tensor | None = None, k_threshold: float = 0.01, min_size: int = 60
) -> Tensor:
    """Returns (N,) int64 superpoints of a cloud without faces, over the graph of `neighbor_edges`.

    Args:
        points: (N, 3) float32, finite, metres where normals are missing, else any unit.
        normals: (N, 3) float32 unit vectors, all on the same side of the surface; None: `normals_from_neighbors`.
        k_threshold, min_size: as in `superpoints_of_mesh`.

    Raises:
        ValueError: shapes, dtypes, devices or numbers that do not fit.
    """
    edges = neighbor_edges(points)
    if normals is None:
        normals = normals_from_neighbors(points) if len(points) else torch.zeros_like(points)
    return felzenszwalb(edges, edge_weights(points, normals, edges), len(points), k_threshold, min_size)


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
