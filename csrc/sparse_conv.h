// Contract of sparse_conv and sparse_conv_weight_gradient, shared by csrc/cpu, csrc/cuda and the references in
// geoguide3d/ops/sparse_conv.py.
//
//   M rows of C channels become P rows of D channels, through K taps.
//
//     features    (M, C)     T = float32 | float64 | float16 | bfloat16, any strides
//     weight      (D, K, C)  T, any strides, finite
//     bias        (D,)       T, or none for 0
//     neighbours  (K, P)     int32 in [-1, M): the row that each tap reads for each output, -1 for none
//     transposed  (K, M)     int32 in [-1, P): the inverse of neighbours, tap by tap; none where that is neighbours
//     with
//                            its taps in reverse order (submanifold maps). Only gradients read it.
//     grad        (P, D)     T
//
//   sparse_conv(features, weight, bias, neighbours, transposed) -> (P, D) T
//     out[p, d] = bias[d] + sum over taps t with n = neighbours[t, p] >= 0 of weight[d, t] . features[n]
//   sparse_conv_weight_gradient(features, grad, neighbours) -> (D, K, C) T
//     out[d, t, c] = sum over outputs p with n = neighbours[t, p] >= 0 of grad[p, d] * features[n, c]
//
//   The gradient by features is sparse_conv of the gradient with transposed weights over the transposed map.
//   Half types are multiplied and added up in float32, on a GPU by its tensor cores, and rounded once, at the end.
//   M, P, K, C and D may be 0. Products of row numbers and widths are 64-bit. Deterministic and independent of the
//   number of threads: an output adds its taps in order, and each tap its channels in order (inside a tensor core 16 at
//   a time); a weight's gradient adds its pairs in order, in parts whose size depends on the shapes alone, and the
//   parts in order. Nothing is added by atomics. A row outside [-1, M) is an error, on CUDA a device-side assertion.
#pragma once
#include <optional>

#include "dtypes.h"
#include "optional_tensor.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline int64_t ceil_divide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline void check_features(const Tensor& features, const Tensor& neighbours) {
  STD_TORCH_CHECK(features.dim() == 2, "features must be (M, C)");
  STD_TORCH_CHECK(neighbours.dim() == 2 && neighbours.scalar_type() == ScalarType::Int,
                  "neighbours must be (K, P) int32");
}

inline void check_weight(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                         const Tensor& neighbours) {
  check_features(features, neighbours);
  STD_TORCH_CHECK(weight.dim() == 3 && weight.size(1) == neighbours.size(0) && weight.size(2) == features.size(1),
                  "weight must be (D, ", neighbours.size(0), ", ", features.size(1), ")");
  STD_TORCH_CHECK(weight.scalar_type() == features.scalar_type(), "weight must have the type of features");
  if (!bias) return;
  STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight.size(0), "bias must be (", weight.size(0), ",)");
  STD_TORCH_CHECK(bias->scalar_type() == features.scalar_type(), "bias must have the type of features");
}

inline void check_grad(const Tensor& features, const Tensor& grad, const Tensor& neighbours) {
  check_features(features, neighbours);
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == neighbours.size(1), "grad must be (", neighbours.size(1), ", D)");
  STD_TORCH_CHECK(grad.scalar_type() == features.scalar_type(), "grad must have the type of features");
}
}  // namespace geoguide3d
