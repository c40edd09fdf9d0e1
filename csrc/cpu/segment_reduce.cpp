#include "../segment_reduce.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <type_traits>
#include <vector>

#include "fold.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

template <typename A>
void sum_weights(const A* weights, const Csr& csr, A* mass) {
  torch::stable::parallel_for(0, csr.owners, 64, [&](int64_t first, int64_t last) {
    for (int64_t s = first; s < last; ++s) {
      double sum = weights ? 0 : static_cast<double>(csr.end(s) - csr.begin(s));
      for (int64_t e = csr.begin(s); weights && e < csr.end(s); ++e) sum += static_cast<double>(weights[csr.id(e)]);
      mass[s] = static_cast<A>(sum);
    }
  });
}

// `rows` holds the segments of each row.
template <typename A, typename T>
void expand_segments(const Rows<A>& segments, const A* weights, const Csr& rows, T* out) {
  const int64_t C = segments.C;
  torch::stable::parallel_for(0, rows.owners, rows_per_thread(C), [&](int64_t first, int64_t last) {
    std::vector<A> sum(C);
    for (int64_t n = first; n < last; ++n) {
      const A* row = sum.data();
      if (rows.end(n) - rows.begin(n) == 1) {
        row = segments[rows.id(rows.begin(n))];
      } else {
        std::fill_n(sum.data(), C, A{0});
        fold_rows(Sum<A>{nullptr}, sum.data(), segments, rows, rows.begin(n), rows.end(n));
      }
      scale(row, weights ? weights[n] : A{1}, out + n * C, C);
    }
  });
}

// Many sums side by side, because the compiler may not reorder the additions of one.
template <typename A>
A dot(const A* a, const A* b, int64_t C) {
  constexpr int64_t kLanes = 128 / sizeof(A);
  A lanes[kLanes] = {}, sum = 0;
  int64_t c = 0;
  for (; c + kLanes <= C; c += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[c + lane] * b[c + lane];
  for (; c < C; ++c) sum += a[c] * b[c];
  for (const A lane : lanes) sum += lane;
  return sum;
}

template <typename T, typename A>
void dot_segments(const Rows<T>& values, const Rows<A>& segments, const Csr& rows, A* out) {
  const int64_t C = values.C;
  torch::stable::parallel_for(0, rows.owners, rows_per_thread(C), [&](int64_t first, int64_t last) {
    std::vector<A> space(std::is_same_v<T, A> ? 0 : C);
    for (int64_t n = first; n < last; ++n) {
      const A* row = as_accumulators(values[n], space.data(), C);
      A sum = 0;
      for (int64_t e = rows.begin(n); e < rows.end(n); ++e) sum += dot(row, segments[rows.id(e)], C);
      out[n] = sum;
    }
  });
}

std::tuple<Tensor, Tensor> segment_sum(const Tensor& values, const std::optional<Tensor>& weights,
                                       const std::optional<Tensor>& row_ids, const Tensor& offsets,
                                       const std::optional<Tensor>&) {
  check_matrix(values, "values");
  const int64_t N = values.size(0), C = values.size(1);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  check_weights(weights, N, dtype);
  const List list(row_ids, offsets, N);
  const Csr csr = checked(list, N);
  const Tensor v = with_contiguous_rows(values);
  const std::optional<Tensor> w = contiguous(weights);
  const Tensor sums = new_empty(v, {csr.owners, C}, dtype), mass = new_empty(v, {csr.owners}, dtype);
  const Tensor partial = new_empty(v, {slot_count(csr.entries), C}, dtype);
  with_floating_dtype(v.scalar_type(), "segment_sum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    fold_segments(Sum<A>{data_or_null<A>(w)}, rows_of<T>(v), csr, partial.mutable_data_ptr<A>(),
                  sums.mutable_data_ptr<A>());
    sum_weights(data_or_null<A>(w), csr, mass.mutable_data_ptr<A>());
  });
  return {sums, mass};
}

Tensor segment_expand(const Tensor& segments, const std::optional<Tensor>& weights, const Tensor& segment_ids,
                      const std::optional<Tensor>& row_offsets, ScalarType dtype) {
  check_matrix(segments, "segments");
  const List list(segment_ids, row_offsets, 0);
  const int64_t N = list.owners, C = segments.size(1);
  check_weights(weights, N, segments.scalar_type());
  check_sum_type(segments, dtype);
  const Csr rows = checked(list, segments.size(0));
  const Tensor s = with_contiguous_rows(segments);
  const std::optional<Tensor> w = contiguous(weights);
  const Tensor out = new_empty(s, {N, C}, dtype);
  with_floating_dtype(dtype, "segment_expand", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    expand_segments(rows_of<A>(s), data_or_null<A>(w), rows, out.mutable_data_ptr<T>());
  });
  return out;
}

Tensor segment_dot(const Tensor& values, const Tensor& segments, const Tensor& segment_ids,
                   const std::optional<Tensor>& row_offsets) {
  check_matrix(values, "values");
  check_matrix(segments, "segments");
  check_sum_type(segments, values.scalar_type());
  check_same_columns(values, segments);
  const List list(segment_ids, row_offsets, 0);
  check_owners(list, values.size(0));
  const Csr rows = checked(list, segments.size(0));
  const Tensor v = with_contiguous_rows(values), s = with_contiguous_rows(segments);
  const Tensor out = new_empty(s, {values.size(0)});
  with_floating_dtype(v.scalar_type(), "segment_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    dot_segments(rows_of<T>(v), rows_of<A>(s), rows, out.mutable_data_ptr<A>());
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("segment_sum", TORCH_BOX(&geoguide3d::cpu::segment_sum));
  m.impl("segment_expand", TORCH_BOX(&geoguide3d::cpu::segment_expand));
  m.impl("segment_dot", TORCH_BOX(&geoguide3d::cpu::segment_dot));
}
