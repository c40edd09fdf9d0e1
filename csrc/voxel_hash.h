// Contract of voxel_hash, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/voxel_hash.py.
//
//   Which cells of a grid N points occupy. Point n lies in the cell floor(points[n] / voxel_size), divided in float64;
//   cells are then counted from the least index of each axis.
//
//     points      (N, 3)  float32 | float64, any strides, finite
//     voxel_size  side of a cell, positive and finite
//
//   voxel_hash(points, voxel_size) -> (cells (M, 3), point_of_voxel (M,), voxel_of_point (N,)), all int64
//     cells           the M occupied cells in lexicographic order; the least index of each axis is 0
//     point_of_voxel  the first point (the least n) in each cell
//     voxel_of_point  the row of `cells` that each point lies in
//
//   N = 0 is valid and gives M = 0. Points that are not finite, and more than 2^21 cells along an axis, are an error on
//   both devices: three axes share the 63 bits of a key. Keys are sorted, not hashed at random places: the order of
//   cells is part of the result, and a sort by the few bits that a room needs is faster than a table larger than the
//   cache. The sort is stable, so results are exact, and the same for any number of threads and on both devices.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

constexpr int kBitsPerAxis = 21;
constexpr double kMostCells = 1 << kBitsPerAxis;  // along an axis

inline void check_cloud(const Tensor& points, double voxel_size) {
  STD_TORCH_CHECK(points.dim() == 2 && points.size(1) == 3, "points must be (N, 3)");
  STD_TORCH_CHECK(voxel_size > 0 && voxel_size - voxel_size == 0, "voxel_size must be positive, got ", voxel_size);
}
}  // namespace geoguide3d
