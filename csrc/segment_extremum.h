// Contract of segment_extremum, segment_first and segment_place, shared by csrc/cpu, csrc/cuda and the references in
// geoguide3d/ops/segment_extremum.py. Shapes, types A and lists are those of csrc/segment_reduce.h.
//
//   segment_extremum(values, row_ids, offsets, largest, index) -> (S, C) A
//     The maximum (largest) or minimum of values[n, c] over the rows n of s. NaN counts as more extreme than any
//     number. Empty segments: 0. `index` as in segment_sum.
//   segment_first(values, extrema, row_ids, offsets) -> (S, C) int64
//     The first row in the list of s that holds extrema[s, c], a result of segment_extremum; N where there is none.
//   segment_place(segments, rows, segment_ids, row_offsets, dtype) -> (N, C) dtype
//     out[n, c] = sum of segments[s, c] over the segments s of n with rows[s, c] = n. The gradient of an extremum.
//
//   The rows are looked for only when a gradient is wanted: a second reading costs less than carrying numbers of rows
//   through the first. Results are exact, so nothing depends on order or threads; segment_place adds in ascending order
//   of segments. N = 0, S = 0 and C = 0 are valid; lists are checked as csrc/csr_transpose.h says.
#pragma once
#include <cmath>

#include "csr_transpose.h"

namespace geoguide3d {

// segment_extremum, step by step; what the steps mean is said in cpu/fold.h and cuda/fold.cuh. A NaN, once there,
// stays: nothing is beyond it. No short circuits, so that loops vectorise.
template <typename A, bool kLargest>
struct Extremum {
  using State = A;
  C10_HOST_DEVICE static A start() { return static_cast<A>(kLargest ? -INFINITY : INFINITY); }
  C10_HOST_DEVICE static A empty() { return 0; }
  C10_HOST_DEVICE static A factor(int64_t, int64_t) { return 0; }
  C10_HOST_DEVICE static A fold(A state, A value, A, int64_t) { return merge(state, value); }
  C10_HOST_DEVICE static A merge(A state, A later) {
    const bool beyond = kLargest ? later > state : later < state;
    return beyond | (later != later) ? later : state;
  }
  C10_HOST_DEVICE static A result(A state) { return state; }
};

inline void check_extrema(const Tensor& extrema, const Tensor& values, int64_t S) {
  STD_TORCH_CHECK(extrema.dim() == 2 && extrema.size(0) == S && extrema.size(1) == values.size(1), "extrema must be (",
                  S, ", ", values.size(1), ")");
  STD_TORCH_CHECK(extrema.scalar_type() == accumulator_dtype(values.scalar_type()),
                  "extrema must have the type of sums");
}

inline void check_placed(const Tensor& segments, const Tensor& rows, ScalarType dtype) {
  STD_TORCH_CHECK(rows.dim() == 2 && rows.size(0) == segments.size(0) && rows.size(1) == segments.size(1),
                  "rows must be of the shape of segments");
  STD_TORCH_CHECK(rows.scalar_type() == ScalarType::Long, "rows must be int64");
  STD_TORCH_CHECK(segments.scalar_type() == accumulator_dtype(dtype), "segments must have the type of sums");
}
}  // namespace geoguide3d
