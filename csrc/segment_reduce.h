// Contract of segment_sum, segment_expand and segment_dot, shared by csrc/cpu, csrc/cuda and the references in
// geoguide3d/ops/segment_reduce.py.
//
//   N rows of C channels and S segments. A segment has any rows, in any order; a row may be in several segments.
//   csrc/csr_transpose.h says how lists are written: (row_ids, offsets) are the rows of each segment,
//   (segment_ids, row_offsets) the segments of each row.
//
//     values    (N, C)  float32 | float64 | float16 | bfloat16, any strides (copied unless each row is contiguous)
//     weights   (N,)    A, or none for weights of 1
//     segments  (S, C)  A
//   where A, the type of all sums, is float64 for float64 values and float32 for the others.
//
//   segment_sum(values, weights, row_ids, offsets, index) -> (sums (S, C) A, mass (S,) A)
//     sums[s, c] = sum of weights[n] * values[n, c] over the rows n of s; mass[s] = sum of their weights.
//     Empty segments: sums 0, mass 0. `index` (N,), where each row is in one segment, is its id: only gradients read
//     it.
//   segment_expand(segments, weights, segment_ids, row_offsets, dtype) -> (N, C) dtype
//     out[n, c] = weights[n] * sum of segments[s, c] over the segments s of n
//   segment_dot(values, segments, segment_ids, row_offsets) -> (N,) A
//     out[n] = sum of values[n, c] * segments[s, c] over c and the segments s of n
//
//   They are the partial derivatives of one trilinear form, the sum of weights[n] * values[n] . segments[s] over all
//   pairs of a row n and a segment s that has it, so each one's gradient is made of the other two.
//   Results are deterministic on both devices and do not depend on the number of threads: rows are added in the order
//   of the list, in parts of fixed size, and the parts in order. A gradient for masks that overlap sums over the
//   transposed list, so nothing needs atomics. All products of a row's number and a stride are 64-bit. N = 0, S = 0 and
//   C = 0 are valid; lists are checked as csrc/csr_transpose.h says.
#pragma once
#include "csr_transpose.h"

namespace geoguide3d {

// segment_sum, step by step; what the steps mean is said in cpu/fold.h and cuda/fold.cuh.
template <typename A>
struct Sum {
  using State = A;
  const A* weights;  // null: weights of 1
  C10_HOST_DEVICE static A start() { return 0; }
  C10_HOST_DEVICE static A empty() { return 0; }
  C10_HOST_DEVICE A factor(int64_t n, int64_t) const { return weights ? weights[n] : A{1}; }
  C10_HOST_DEVICE static A fold(A state, A value, A weight, int64_t) { return state + weight * value; }
  C10_HOST_DEVICE static A merge(A state, A later) { return state + later; }
  C10_HOST_DEVICE static A result(A state) { return state; }
};

inline void check_weights(const std::optional<Tensor>& weights, int64_t N, ScalarType dtype) {
  if (!weights) return;
  STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == N, "weights must be (", N, ",)");
  STD_TORCH_CHECK(weights->scalar_type() == dtype, "weights must have the type of the sums");
}

inline void check_same_columns(const Tensor& values, const Tensor& segments) {
  STD_TORCH_CHECK(values.size(1) == segments.size(1), "values have ", values.size(1), " columns, segments ",
                  segments.size(1));
}

inline void check_sum_type(const Tensor& segments, ScalarType dtype) {
  STD_TORCH_CHECK(segments.scalar_type() == accumulator_dtype(dtype), "segments must have the type of sums");
}

inline void check_owners(const List& list, int64_t N) {
  STD_TORCH_CHECK(list.owners == N, "a list of ", N, " rows is needed, got one of ", list.owners);
}
}  // namespace geoguide3d
