// Contract of the segment ops, shared by csrc/cpu, csrc/cuda and the references in geoguide3d/ops/segment_reduce.py.
//
//   N rows of C channels belong to S segments: row n to segment index[n]. Rows come in any order.
//
//     values    (N, C)  float32 | float64 | float16 | bfloat16, any strides
//     weights   (N,)    A, or none for weights of 1
//     index     (N,)    int64, 0 <= index[n] < S
//     segments  (S, C)  A
//   where A, the type of all sums, is float64 for float64 values and float32 for the others.
//
//   segment_sum(values, weights, index, S) -> (sums (S, C) A, mass (S,) A)
//     sums[s, c] = sum of weights[n] * values[n, c] over the rows n of s; mass[s] = sum of their weights.
//     Empty segments: sums 0, mass 0.
//   segment_expand(segments, weights, index) -> (N, C) A
//     out[n, c] = weights[n] * segments[index[n], c]
//   segment_dot(values, segments, index) -> (N,) A
//     out[n] = sum of values[n, c] * segments[index[n], c] over c
//   segment_max(values, index, S) -> (maxima (S, C) A, rows (S, C) int64)
//     rows[s, c] is the first row n of s that holds the maximum. NaN counts as the greatest value.
//     Empty segments: maxima 0, rows N.
//
//   The first three are the partial derivatives of one trilinear form, so each one's gradient is made of the other two.
//   Results are deterministic on both devices and do not depend on the number of threads: rows are added in ascending
//   order in parts of fixed size, and the parts in ascending order.
//   N = 0, S = 0 and C = 0 are valid. An index outside [0, S) is an error: an exception on the CPU, a device-side
//   assertion on CUDA, as with torch's own indexing (an exception would need to wait for the device in every call).
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline void check_rows(const Tensor& values, const Tensor& index) {
  STD_TORCH_CHECK(values.dim() == 2, "values must be (N, C), got ", values.dim(), " dimensions");
  STD_TORCH_CHECK(index.dim() == 1 && index.size(0) == values.size(0), "index must be (", values.size(0), ",)");
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long, "index must be int64");
}

inline void check_segment_count(int64_t S) {
  STD_TORCH_CHECK(S >= 0, "num_segments must not be negative, got ", S);
}

inline void check_weights(const std::optional<Tensor>& weights, int64_t N, ScalarType dtype) {
  if (!weights) return;
  STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == N, "weights must be (", N, ",)");
  STD_TORCH_CHECK(weights->scalar_type() == dtype, "weights must have the type of the sums");
}

inline void check_segments(const Tensor& segments, const Tensor& index) {
  STD_TORCH_CHECK(segments.dim() == 2, "segments must be (S, C), got ", segments.dim(), " dimensions");
  STD_TORCH_CHECK(index.dim() == 1 && index.scalar_type() == ScalarType::Long, "index must be (N,) int64");
}

inline void check_same_columns(const Tensor& values, const Tensor& segments) {
  STD_TORCH_CHECK(values.size(1) == segments.size(1), "values have ", values.size(1), " columns, segments ",
                  segments.size(1));
  STD_TORCH_CHECK(segments.scalar_type() == accumulator_dtype(values.scalar_type()),
                  "segments must have the type of sums");
}

inline std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return torch::stable::contiguous(*tensor);
}

// Null where there are no weights; kernels read that as weights of 1.
template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}
}  // namespace geoguide3d
