// Contract of mask_bce, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/mask_bce.py.
//
//   M masks, each a set of N points, are compared with what M queries say about the points.
//
//     queries    (M, C)      A
//     points     (N, C)      float32 | float64 | float16 | bfloat16, any strides
//     offsets    (M + 1,)    int64: mask m holds point_ids[offsets[m]] ... point_ids[offsets[m + 1] - 1], in any order,
//     point_ids  (E,)        int64, 0 <= point_ids[e] < N, each at most once per mask; masks may overlap, be empty, be
//     all
//   where A is float64 for float64 points and float32 for the others.
//
//   mask_bce(queries, points, offsets, point_ids, balanced, gradients)
//       -> (value () A, grad_queries A, grad_points A)
//     x[m, n] = queries[m] . points[n] / max(length of points[n], 1e-8)      (torch.nn.CosineSimilarity's clamp)
//     y[m, n] = 1 if mask m holds point n, else 0
//     value   = sum of w[m, n] * (softplus(x) - x * y) / (M * N), binary cross-entropy from logits
//     w[m, n] = 1; where `balanced` is set N / (2 P[m]) for the P[m] points of mask m and N / (2 (N - P[m])) for the
//               others, so that both weigh the same in total, and every mask N; 1 for a mask that holds none or all.
//     grad_queries (M, C), the derivative of value, where bit 1 of `gradients` is set, else (0, C); grad_points (N, C)
//     likewise with bit 2, through the division by the length. It stays in A for half points: unscaled, it is
//     below what half types can hold. M = 0 or N = 0: value 0. C = 0 is valid.
//
//   Nothing of M x N elements is made: points are taken in tiles of about a million logits, and gradients are made in
//   the same pass as the value. Softplus is within 4e-7 of itself in float32.
//   Results are deterministic on both devices and do not depend on the number of threads. A point outside [0, N) or
//   twice in a mask is an error: an exception on the CPU, a device-side assertion on CUDA. No second derivative.
//
//   Source: GeoGuide (arXiv 2603.26260), instance mask reconstruction. With queries of length 1 a value below
//   log(1 + 1/e) = 0.3133 is out of reach.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>

#include "dtypes.h"
#include "row_length.h"

namespace geoguide3d {
using torch::stable::Tensor;

enum MaskGradient : int64_t { kGradQueries = 1, kGradPoints = 2 };

inline void check_mask_inputs(const Tensor& queries, const Tensor& points, const Tensor& offsets,
                              const Tensor& point_ids) {
  STD_TORCH_CHECK(queries.dim() == 2 && points.dim() == 2 && queries.size(1) == points.size(1),
                  "queries and points must be (M, C) and (N, C)");
  STD_TORCH_CHECK(queries.scalar_type() == accumulator_dtype(points.scalar_type()),
                  "queries must be float32, or "
                  "float64 for float64 points, got ",
                  torch::headeronly::toString(queries.scalar_type()));
  STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) == queries.size(0) + 1, "offsets must be (",
                  queries.size(0) + 1, ",)");
  STD_TORCH_CHECK(point_ids.dim() == 1, "point_ids must be (E,)");
  STD_TORCH_CHECK(offsets.scalar_type() == ScalarType::Long && point_ids.scalar_type() == ScalarType::Long,
                  "offsets and point_ids must be int64");
}

// What one point of a mask that holds P of N points weighs, and one of the others.
struct MaskWeights {
  double inside, outside;
};

C10_HOST_DEVICE inline MaskWeights mask_weights(int64_t P, int64_t N, bool balanced) {
  if (!balanced || P == 0 || P == N) return {1, 1};
  return {static_cast<double>(N) / (2.0 * static_cast<double>(P)),
          static_cast<double>(N) / (2.0 * static_cast<double>(N - P))};
}
}  // namespace geoguide3d
