"""Compiled kernels behind torch operators, each with a readable PyTorch reference."""

from __future__ import annotations

from geoguide3d.ops.felzenszwalb import edge_weights, felzenszwalb, mesh_edges
from geoguide3d.ops.kernels import compiled
from geoguide3d.ops.knn import knn, radius
from geoguide3d.ops.project_points import DepthTest, ProjectedPoints, project_points
from geoguide3d.ops.segment_reduce import segment_max, segment_mean, segment_sum, weighted_segment_mean
from geoguide3d.ops.voxel_hash import voxel_hash

__all__ = [
    "DepthTest",
    "ProjectedPoints",
    "compiled",
    "edge_weights",
    "felzenszwalb",
    "knn",
    "mesh_edges",
    "project_points",
    "radius",
    "segment_max",
    "segment_mean",
    "segment_sum",
    "voxel_hash",
    "weighted_segment_mean",
]
