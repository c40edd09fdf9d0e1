#include "../segment_reduce.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <type_traits>
#include <vector>

#include "grouping.h"

namespace geoguide3d {
namespace {

using torch::stable::new_empty;
using torch::stable::new_zeros;

// Fewer elements than this are not worth a thread.
int64_t rows_per_thread(int64_t C) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(C, 1));
}

template <typename T, typename A>
struct FourRows {
  const T* values[4];
  A weight[4];

  FourRows(const T* all, const A* weights, const int64_t* rows, int64_t C) {
    for (int k = 0; k < 4; ++k) {
      values[k] = all + rows[k] * C;
      weight[k] = weights ? weights[rows[k]] : A{1};
    }
  }
  A sum(int64_t c) const {
    A total = weight[0] * static_cast<A>(values[0][c]);
    for (int k = 1; k < 4; ++k) total += weight[k] * static_cast<A>(values[k][c]);
    return total;
  }
};

// Four rows at a time: the sum is loaded and stored once for them, and four streams of memory are under way. While they
// are added the next four are fetched, because each row of a random order is a new place for the hardware's prefetcher.
template <typename T, typename A>
void add_rows(A* __restrict sum, const T* values, const A* weights, const int64_t* rows, int64_t count, int64_t C) {
  constexpr int64_t kLine = 64 / sizeof(T);
  int64_t p = 0;
  for (; p + 4 <= count; p += 4) {
    const FourRows<T, A> here(values, weights, rows + p, C),
        next(values, weights, rows + std::min(p + 4, count - 4), C);
    int64_t c = 0;
    for (; c + kLine <= C; c += kLine) {
      for (const T* row : next.values) __builtin_prefetch(row + c, 0, 2);
      for (int64_t k = c; k < c + kLine; ++k) sum[k] += here.sum(k);
    }
    for (; c < C; ++c) sum[c] += here.sum(c);
  }
  for (; p < count; ++p) {
    const T* row = values + rows[p] * C;
    const A weight = weights ? weights[rows[p]] : A{1};
    for (int64_t c = 0; c < C; ++c) sum[c] += weight * static_cast<A>(row[c]);
  }
}

// `sums` and `partial` (slot_count(N), C) hold zeros.
template <typename T, typename A>
void sum_segments(const T* values, const A* weights, const Grouping& grouping, A* partial, A* sums, int64_t C) {
  torch::stable::parallel_for(0, grouping.row_count(), rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for_parts_starting_in(grouping, begin, end, [&](const Part& part) {
      A* sum = part.opens_segment ? sums + part.segment * C : partial + part.slot() * C;
      add_rows(sum, values, weights, grouping.rows.data() + part.first, part.last - part.first, C);
    });
  });
  for_later_parts(grouping, [&](const Part& part) {
    A* sum = sums + part.segment * C;
    const A* add = partial + part.slot() * C;
    for (int64_t c = 0; c < C; ++c) sum[c] += add[c];
  });
}

template <typename A>
void sum_weights(const A* weights, const Grouping& grouping, A* mass) {
  for (int64_t s = 0; s < grouping.segment_count(); ++s) {
    const int64_t begin = grouping.offsets[s], end = grouping.offsets[s + 1];
    double sum = weights ? 0 : static_cast<double>(end - begin);
    for (int64_t p = begin; weights && p < end; ++p) sum += static_cast<double>(weights[grouping.rows[p]]);
    mass[s] = static_cast<A>(sum);
  }
}

template <typename A>
void expand_segments(const A* segments, const A* weights, const int64_t* index, A* out, int64_t N, int64_t C) {
  torch::stable::parallel_for(0, N, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const A* __restrict segment = segments + index[n] * C;
      A* __restrict row = out + n * C;
      const A weight = weights ? weights[n] : A{1};
      for (int64_t c = 0; c < C; ++c) row[c] = weight * segment[c];
    }
  });
}

// Eight sums side by side, because the compiler may not reorder the additions of one.
template <typename T, typename A>
A dot(const T* a, const A* b, int64_t C) {
  A lanes[8] = {}, sum = 0;
  int64_t c = 0;
  for (; c + 8 <= C; c += 8)
    for (int64_t lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<A>(a[c + lane]) * b[c + lane];
  for (; c < C; ++c) sum += static_cast<A>(a[c]) * b[c];
  for (const A lane : lanes) sum += lane;
  return sum;
}

template <typename T, typename A>
void dot_segments(const T* values, const A* segments, const int64_t* index, A* out, int64_t N, int64_t C) {
  torch::stable::parallel_for(0, N, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) out[n] = dot(values + n * C, segments + index[n] * C, C);
  });
}

// NaN is greater than every number. No short circuit, so that loops vectorise.
template <typename A>
bool is_greater(A value, A best) {
  return !(value <= best) & (best == best);
}

// A function of its own, because GCC vectorises this loop only where it sees that the arrays do not overlap.
template <typename T, typename A, typename Position>
[[gnu::noinline]] void take_greater(A* __restrict best, Position* __restrict position, const T* __restrict row,
                                    Position here, int64_t C) {
  for (int64_t c = 0; c < C; ++c) {
    const A value = static_cast<A>(row[c]);
    const bool greater = is_greater(value, best[c]);
    best[c] = greater ? value : best[c];
    position[c] = greater ? here : position[c];
  }
}

// Writes the maxima and the rows that hold them first. `position` (C,) is scratch: positions in `rows` while the loop
// runs, of the width of A so that both fill a vector register alike.
template <typename T, typename A, typename Position>
void max_rows(A* best, int64_t* best_row, Position* position, const T* values, const int64_t* rows, int64_t count,
              int64_t C) {
  for (int64_t c = 0; c < C; ++c) best[c] = static_cast<A>(values[rows[0] * C + c]);
  std::fill_n(position, C, Position{0});
  for (int64_t p = 1; p < count; ++p) take_greater(best, position, values + rows[p] * C, static_cast<Position>(p), C);
  for (int64_t c = 0; c < C; ++c) best_row[c] = rows[position[c]];
}

// A maximum and the row that holds it, for each of many channels.
template <typename A>
struct Maxima {
  A* value;
  int64_t* row;
  Maxima operator+(int64_t elements) const { return {value + elements, row + elements}; }
};

// `maxima.value` holds zeros; `partial` is (slot_count(N), C).
template <typename T, typename A>
void max_segments(const T* values, const Grouping& grouping, Maxima<A> partial, Maxima<A> maxima, int64_t C) {
  for (int64_t s = 0; s < grouping.segment_count(); ++s)
    if (grouping.is_empty(s)) std::fill_n(maxima.row + s * C, C, grouping.row_count());
  torch::stable::parallel_for(0, grouping.row_count(), rows_per_thread(C), [&](int64_t begin, int64_t end) {
    std::vector<std::conditional_t<sizeof(A) == 4, int32_t, int64_t>> position(C);
    for_parts_starting_in(grouping, begin, end, [&](const Part& part) {
      const Maxima<A> best = part.opens_segment ? maxima + part.segment * C : partial + part.slot() * C;
      max_rows(best.value, best.row, position.data(), values, grouping.rows.data() + part.first, part.last - part.first,
               C);
    });
  });
  for_later_parts(grouping, [&](const Part& part) {
    const Maxima<A> best = maxima + part.segment * C, other = partial + part.slot() * C;
    for (int64_t c = 0; c < C; ++c) {
      if (!is_greater(other.value[c], best.value[c])) continue;
      best.value[c] = other.value[c];
      best.row[c] = other.row[c];
    }
  });
}

std::tuple<Tensor, Tensor> segment_sum(const Tensor& values, const std::optional<Tensor>& weights, const Tensor& index,
                                       int64_t S) {
  check_rows(values, index);
  check_segment_count(S);
  const int64_t N = values.size(0), C = values.size(1);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  check_weights(weights, N, dtype);
  const Tensor v = torch::stable::contiguous(values), i = torch::stable::contiguous(index);
  const std::optional<Tensor> w = contiguous(weights);
  const Grouping grouping = group_rows(i.const_data_ptr<int64_t>(), N, S);
  const Tensor sums = new_zeros(v, {S, C}, dtype), mass = new_empty(v, {S}, dtype);
  const Tensor partial = new_zeros(v, {slot_count(N), C}, dtype);
  with_floating_dtype(v.scalar_type(), "segment_sum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    sum_segments(v.const_data_ptr<T>(), data_or_null<A>(w), grouping, partial.mutable_data_ptr<A>(),
                 sums.mutable_data_ptr<A>(), C);
    sum_weights(data_or_null<A>(w), grouping, mass.mutable_data_ptr<A>());
  });
  return {sums, mass};
}

Tensor segment_expand(const Tensor& segments, const std::optional<Tensor>& weights, const Tensor& index) {
  check_segments(segments, index);
  const int64_t N = index.size(0), C = segments.size(1);
  check_weights(weights, N, segments.scalar_type());
  const Tensor s = torch::stable::contiguous(segments), i = torch::stable::contiguous(index);
  const std::optional<Tensor> w = contiguous(weights);
  check_index_range(i.const_data_ptr<int64_t>(), N, s.size(0));
  const Tensor out = new_empty(s, {N, C});
  with_accumulator_dtype(s.scalar_type(), "segment_expand", [&](auto zero) {
    using A = decltype(zero);
    expand_segments(s.const_data_ptr<A>(), data_or_null<A>(w), i.const_data_ptr<int64_t>(), out.mutable_data_ptr<A>(),
                    N, C);
  });
  return out;
}

Tensor segment_dot(const Tensor& values, const Tensor& segments, const Tensor& index) {
  check_rows(values, index);
  check_segments(segments, index);
  const int64_t N = values.size(0), C = values.size(1);
  check_same_columns(values, segments);
  const Tensor v = torch::stable::contiguous(values), s = torch::stable::contiguous(segments);
  const Tensor i = torch::stable::contiguous(index);
  check_index_range(i.const_data_ptr<int64_t>(), N, s.size(0));
  const Tensor out = new_empty(s, {N});
  with_floating_dtype(v.scalar_type(), "segment_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    dot_segments(v.const_data_ptr<T>(), s.const_data_ptr<A>(), i.const_data_ptr<int64_t>(), out.mutable_data_ptr<A>(),
                 N, C);
  });
  return out;
}

std::tuple<Tensor, Tensor> segment_max(const Tensor& values, const Tensor& index, int64_t S) {
  check_rows(values, index);
  check_segment_count(S);
  const int64_t N = values.size(0), C = values.size(1);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  const Tensor v = torch::stable::contiguous(values), i = torch::stable::contiguous(index);
  const Grouping grouping = group_rows(i.const_data_ptr<int64_t>(), N, S);
  const Tensor maxima = new_zeros(v, {S, C}, dtype), rows = new_empty(v, {S, C}, ScalarType::Long);
  const Tensor partial = new_empty(v, {slot_count(N), C}, dtype);
  const Tensor partial_rows = new_empty(v, {slot_count(N), C}, ScalarType::Long);
  with_floating_dtype(v.scalar_type(), "segment_max", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const Maxima<A> parts{partial.mutable_data_ptr<A>(), partial_rows.mutable_data_ptr<int64_t>()};
    const Maxima<A> out{maxima.mutable_data_ptr<A>(), rows.mutable_data_ptr<int64_t>()};
    max_segments(v.const_data_ptr<T>(), grouping, parts, out, C);
  });
  return {maxima, rows};
}

}  // namespace
}  // namespace geoguide3d

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("segment_sum", TORCH_BOX(&geoguide3d::segment_sum));
  m.impl("segment_expand", TORCH_BOX(&geoguide3d::segment_expand));
  m.impl("segment_dot", TORCH_BOX(&geoguide3d::segment_dot));
  m.impl("segment_max", TORCH_BOX(&geoguide3d::segment_max));
}
