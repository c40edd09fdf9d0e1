"""Unit normals of a mesh's vertices or of a bare point cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.ops import knn

_POINTS_PER_CHUNK = 1 << 12  # whose neighbours fit the cache
_LEAST_NEIGHBORS = 6


def normals_from_faces(points: Tensor, faces: Tensor) -> Tensor:
    """Returns (N, 3) float32 unit normals: the area-weighted mean of the faces around each vertex.

    They point to the side from which the faces are seen counter-clockwise. Vertices of no face, or only of faces
    without area, get zeros.

    Args:
        points: (N, 3) vertices, any float dtype.
        faces: (F, 3) int64 indices into points.

    Raises:
        ValueError: a face names a vertex that does not exist.
    """
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= len(points)):
        raise ValueError(
            f"faces name vertices {int(faces.min())} to {int(faces.max())}, but there are {len(points)} points"
        )
    corners = points.to(torch.float64)[faces]
    # The cross product of two edges is normal to the face and as long as twice its area.
    doubled_areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    sums = torch.zeros(len(points), 3, dtype=torch.float64)
    for corner in range(3):
        sums.index_add_(0, faces[:, corner], doubled_areas)
    return _unit(sums).to(torch.float32)


def normals_from_neighbors(
    points: Tensor,  # (N, 3) metres
    k: int = 30,
    radius_m: float = 0.1,
    toward: Tensor | None = None,  # (3,) or (N, 3), same frame
) -> Tensor:
    """Returns (N, 3) float32 unit normals: the direction in which each point's neighbourhood varies least.

    Neighbours are the k nearest within radius_m; the nearest six count at any distance, so that sparse clouds have
    normals too. Where the neighbourhood fixes no plane (fewer than three distinct points, or points on a line) the
    result is some unit vector at right angles to whatever direction there is.

    Args:
        toward: the side that normals face: a viewpoint for all points, or one for each. None: the centre of the
            cloud, which suits a room scanned from inside.
    """
    toward = points.to(torch.float64).mean(dim=0) if toward is None else toward.to(torch.float64)
    ids, distances = knn(points, k)
    counted = distances <= radius_m
    counted[:, :_LEAST_NEIGHBORS] = True
    positions = points.to(torch.float64)
    normals = torch.empty_like(positions)
    for chunk in torch.split(torch.arange(len(points)), _POINTS_PER_CHUNK):
        weights = counted[chunk].to(torch.float64).unsqueeze(-1)
        neighbors = positions[ids[chunk]] - positions[chunk].unsqueeze(1)
        centered = (neighbors - (neighbors * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)) * weights
        normals[chunk] = torch.linalg.eigh(centered.mT @ centered).eigenvectors[:, :, 0]
    away = ((toward - positions) * normals).sum(dim=-1) < 0
    normals[away] *= -1
    return normals.to(torch.float32)


def _unit(vectors: Tensor) -> Tensor:
    """Returns vectors with unit length; those without a direction stay zero."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths.clamp(min=torch.finfo(vectors.dtype).tiny), 0.0)
