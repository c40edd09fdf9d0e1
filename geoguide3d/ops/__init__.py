"""Compiled kernels behind torch operators, each with a readable PyTorch reference."""

from __future__ import annotations

from geoguide3d.ops.cosine_query import cosine_scores, cosine_top1, relevancy_scores, relevancy_top1
from geoguide3d.ops.csr_transpose import csr_transpose
from geoguide3d.ops.direction_sums import direction_dot, direction_sums, direction_total
from geoguide3d.ops.felzenszwalb import edge_weights, felzenszwalb, mesh_edges
from geoguide3d.ops.fuse_views import FusionState, Sightings, fuse_views
from geoguide3d.ops.gram_mse import gram_mse
from geoguide3d.ops.kernel_map import strided_map, submanifold_map
from geoguide3d.ops.kernels import compiled
from geoguide3d.ops.knn import knn, radius
from geoguide3d.ops.mask_bce import mask_bce
from geoguide3d.ops.project_points import DepthTest, ProjectedPoints, project_points
from geoguide3d.ops.rasterize_depth import rasterize_depth
from geoguide3d.ops.segment_extremum import segment_max, segment_max_csr, segment_min, segment_min_csr
from geoguide3d.ops.segment_reduce import (
    segment_mean,
    segment_mean_csr,
    segment_sum,
    segment_sum_csr,
    weighted_segment_mean,
    weighted_segment_mean_csr,
)
from geoguide3d.ops.segment_softmax import segment_softmax, segment_softmax_csr
from geoguide3d.ops.sparse_conv import sparse_conv
from geoguide3d.ops.splat_depth import splat_depth
from geoguide3d.ops.voxel_hash import voxel_hash

__all__ = [
    "DepthTest",
    "FusionState",
    "ProjectedPoints",
    "Sightings",
    "compiled",
    "cosine_scores",
    "cosine_top1",
    "csr_transpose",
    "direction_dot",
    "direction_sums",
    "direction_total",
    "edge_weights",
    "felzenszwalb",
    "fuse_views",
    "gram_mse",
    "knn",
    "mask_bce",
    "mesh_edges",
    "project_points",
    "radius",
    "rasterize_depth",
    "relevancy_scores",
    "relevancy_top1",
    "segment_max",
    "segment_max_csr",
    "segment_mean",
    "segment_mean_csr",
    "segment_min",
    "segment_min_csr",
    "segment_softmax",
    "segment_softmax_csr",
    "segment_sum",
    "segment_sum_csr",
    "sparse_conv",
    "splat_depth",
    "strided_map",
    "submanifold_map",
    "voxel_hash",
    "weighted_segment_mean",
    "weighted_segment_mean_csr",
]
