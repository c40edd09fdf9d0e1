// Contract of direction_sums, direction_dot and direction_sums_backward, shared by csrc/cpu, csrc/cuda and the
// references in geoguide3d/ops/direction_sums.py.
//
//   The direction of a row v as seen from m is
//     d = (u - m) / c      u = v / max(|v|, 1e-8)      c = max(|u - m|, 1e-3)
//   so it has length 1 unless u is that near to m; without a mean m is 0 and c is 1, and a row of zeros has d = 0.
//
//     values   (N, C)  float32 | float64 | float16 | bfloat16, any strides (copied unless each row is contiguous)
//     counts   (N,)    bool, or none where all rows count
//     mean     (C,)    A, or none
//     index    (N,)    int64, the segment of each row, 0 <= index[n] < S; (row_ids, offsets) is its list as in
//                      csrc/csr_transpose.h
//     segments (S, C)  A
//   where A, the type of all arithmetic, is float64 for float64 values and float32 for the others.
//
//   direction_sums(values, counts, mean, row_ids, offsets, index) -> (S, C) A
//     sums[s] = sum of d[n] over the rows n of s that count, 0 where there are none. `index` may be none: only the
//     gradient reads it.
//   direction_dot(values, segments, mean, index) -> (N,) A
//     out[n] = d[n] . segments[index[n]]; the gradient of direction_sums by what its rows are multiplied by. It has
//     none.
//   direction_sums_backward(values, counts, mean, grad, index, added) -> (N, C) of the type of values
//     The gradient of the sum of sums[s] . grad[s] by values, plus `added` (N, C), of the type of values, or none.
//     A row that does not count has gradient 0. Where |v| <= 1e-8 or |u - m| <= 1e-3 what divides is a constant.
//
//   What is said of a row is computed while it lies in the cache, so that each is one pass over memory; on CUDA the
//   sums are two, one that measures rows and one that adds them up. No (N, C) temporary is made. No second derivative.
//   Results are deterministic on both devices and do not depend on the number of threads: rows are added in the order
//   of the list, in parts of fixed size, and the parts in order. N = 0, S = 0 and C = 0 are valid. Lists are checked as
//   csrc/csr_transpose.h says.
#pragma once
#include "csr_transpose.h"
#include "row_length.h"

namespace geoguide3d {

constexpr double kNearest = 1e-3;  // unit vectors nearer to the mean than this say no direction

inline void check_direction_inputs(const Tensor& values, const std::optional<Tensor>& mean) {
  check_matrix(values, "values");
  if (!mean) return;
  STD_TORCH_CHECK(mean->dim() == 1 && mean->size(0) == values.size(1), "mean must be (", values.size(1), ",)");
  STD_TORCH_CHECK(mean->scalar_type() == accumulator_dtype(values.scalar_type()), "mean must have the type of sums");
}

inline void check_counts(const std::optional<Tensor>& counts, int64_t N) {
  if (!counts) return;
  STD_TORCH_CHECK(counts->dim() == 1 && counts->size(0) == N, "counts must be (", N, ",)");
  STD_TORCH_CHECK(counts->scalar_type() == ScalarType::Bool, "counts must be bool");
}

// Segments, or gradients of them, and the segment of each row.
inline void check_direction_segments(const Tensor& values, const Tensor& segments, const Tensor& index) {
  check_matrix(segments, "segments");
  STD_TORCH_CHECK(segments.size(1) == values.size(1), "values have ", values.size(1), " columns, segments ",
                  segments.size(1));
  STD_TORCH_CHECK(segments.scalar_type() == accumulator_dtype(values.scalar_type()),
                  "segments must have the type of sums");
  STD_TORCH_CHECK(index.dim() == 1 && index.size(0) == values.size(0), "index must be (", values.size(0), ",)");
}

inline void check_added(const Tensor& values, const std::optional<Tensor>& added) {
  if (!added) return;
  STD_TORCH_CHECK(added->dim() == 2 && added->size(0) == values.size(0) && added->size(1) == values.size(1) &&
                      added->scalar_type() == values.scalar_type(),
                  "added must be like values");
}

// The tensors of an op, as its kernels read them; they live as long as this.
struct [[gnu::visibility("hidden")]] DirectionInputs {
  const Tensor values;
  const std::optional<Tensor> counts, mean;

  DirectionInputs(const Tensor& v, const std::optional<Tensor>& c, const std::optional<Tensor>& m)
      : values(with_contiguous_rows(v)), counts(contiguous(c)), mean(contiguous(m)) {
    check_direction_inputs(v, m);
    check_counts(c, v.size(0));
  }
  // A device's Directions<T> begins with rows, what counts and the mean.
  template <template <typename> class Directions, typename T>
  Directions<T> as() const {
    return {rows_of<T>(values), data_or_null<bool>(counts), data_or_null<accumulator_t<T>>(mean)};
  }
  ScalarType dtype() const { return values.scalar_type(); }
};

// What divides a row, and whether it moves with the row.
template <typename A>
struct Seen {
  A inverse;   // u = inverse * v
  A distance;  // c
  bool clamped, near;
};

template <typename A>
C10_HOST_DEVICE inline Seen<A> seen_without_mean(A length) {
  const bool clamped = length <= static_cast<A>(kShortestRow);
  return {A{1} / (clamped ? static_cast<A>(kShortestRow) : length), A{1}, clamped, true};
}

template <typename A>
C10_HOST_DEVICE inline Seen<A> seen_from_mean(Seen<A> seen, A distance) {
  seen.near = distance <= static_cast<A>(kNearest);
  seen.distance = seen.near ? static_cast<A>(kNearest) : distance;
  return seen;
}

// The gradient of a row is scale * (g - by_row * v + by_mean * m), with g the gradient of its segment.
template <typename A>
struct Pull {
  A scale, by_row, by_mean;
};

// `along` = g . (u - m), `turned` = (u - m) . u, `on_unit` = g . u. With t = g . d, e = (g - t d) / c is the gradient
// by u, and inverse * (e - (e . u) u) that by v.
template <typename A>
C10_HOST_DEVICE inline Pull<A> pull_of(const Seen<A>& seen, A along, A turned, A on_unit) {
  const A by_offset = seen.near ? A{0} : along / (seen.distance * seen.distance);
  const A by_unit = seen.clamped ? A{0} : on_unit - by_offset * turned;
  return {seen.inverse / seen.distance, (by_offset + by_unit) * seen.inverse, by_offset};
}
}  // namespace geoguide3d
