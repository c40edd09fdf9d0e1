// Contract of the neighbour searches, shared by csrc/cpu, csrc/cuda and the references in geoguide3d/ops/knn.py.
//
//   N points and M queries in space, in the same unit and frame.
//
//     points   (N, 3)  float32 | float64, any strides, finite
//     queries  (M, 3)  the type of points, finite; none: the points themselves, M = N
//
//   knn(points, queries, k) -> (ids (M, k) int64, distances (M, k) float32), 1 <= k <= N
//     The k nearest points of every query, nearest first.
//   radius(points, queries, r, max_neighbors) -> (offsets (M + 1,) int64, ids (E,) int64, distances (E,) float32)
//     The points of query m with squared distance <= r * r are ids[offsets[m]] ... ids[offsets[m + 1] - 1], nearest
//     first; of those only the first max_neighbors, where that is given.
//
//   Distances are computed in float64 as sqrt((dx * dx + dy * dy) + dz * dz), every operation rounded for itself, and
//   rounded to float32 once. The order is that of the float64 squares; equal ones are in the order of their ids.
//   Results are exact whatever the distribution of the points, and so the same for any number of threads and on both
//   devices. Points that coincide, lie in a plane or far away cost time at worst, never a neighbour.
//   M = 0 is valid, and N = 0 for radius. N is below 2^32 (2^31 on CUDA). Points or queries that are not finite are an
//   error: an exception on the CPU, a device-side assertion on CUDA.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "dtypes.h"
#include "optional_tensor.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline void check_places(const Tensor& points, const std::optional<Tensor>& queries) {
  STD_TORCH_CHECK(points.dim() == 2 && points.size(1) == 3, "points must be (N, 3)");
  if (!queries) return;
  STD_TORCH_CHECK(queries->dim() == 2 && queries->size(1) == 3, "queries must be (M, 3)");
  STD_TORCH_CHECK(queries->scalar_type() == points.scalar_type(), "queries must have the type of points");
}

inline void check_neighbor_count(int64_t k, int64_t N) {
  STD_TORCH_CHECK(1 <= k && k <= N, "k must be in [1, ", N, "], got ", k);
}

inline void check_radius(double r, const std::optional<int64_t>& max_neighbors) {
  STD_TORCH_CHECK(r >= 0, "r must not be negative, got ", r);
  STD_TORCH_CHECK(!max_neighbors || *max_neighbors >= 1, "max_neighbors must be at least 1");
}
}  // namespace geoguide3d
