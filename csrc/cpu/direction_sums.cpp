#include "../direction_sums.h"

#include <torch/csrc/stable/library.h>

#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "dots.h"
#include "fold.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

// Arrays at a column: a register of neighbouring columns, or one.
struct Registers {
  int64_t c;
  template <typename A>
  auto operator()(const A* array) const {
    return Lanes<A>::load(array + c);
  }
};
struct Scalars {
  int64_t c;
  template <typename A>
  A operator()(const A* array) const {
    return array[c];
  }
};

// Sums over C columns, always in the same order: add(at, sums) adds the terms of the columns that `at` reads to each of
// them. Two registers for each sum, because the latency of an addition would show with one.
template <typename A, int kSums, typename Add>
inline std::array<A, kSums> add_columns(int64_t C, const Add& add) {
  using L = Lanes<A>;
  typename L::Register even[kSums] = {}, odd[kSums] = {};
  A rest[kSums] = {};
  int64_t c = 0;
  for (; c + 2 * L::kCount <= C; c += 2 * L::kCount) {
    add(Registers{c}, even);
    add(Registers{c + L::kCount}, odd);
  }
  for (; c < C; ++c) add(Scalars{c}, rest);
  std::array<A, kSums> sums;
  for (int k = 0; k < kSums; ++k) sums[k] = rest[k] + L::sum(even[k] + odd[k]);
  return sums;
}

template <typename A>
A dot(const A* a, const A* b, int64_t C) {
  return add_columns<A, 1>(C, [&](auto at, auto* sums) { sums[0] += at(a) * at(b); })[0];
}

// `mean` may be null.
template <typename A>
Seen<A> look_at(const A* row, const A* mean, int64_t C) {
  const Seen<A> seen = seen_without_mean(std::sqrt(dot(row, row, C)));
  if (!mean) return seen;
  const auto [squared] = add_columns<A, 1>(C, [&](auto at, auto* sums) {
    const auto offset = seen.inverse * at(row) - at(mean);
    sums[0] += offset * offset;
  });
  return seen_from_mean(seen, std::sqrt(squared));
}

template <typename T>
void fetch(const T* row, int64_t C) {
  for (int64_t c = 0; c < C; c += 64 / sizeof(T)) __builtin_prefetch(row + c, 0, 2);
}

template <typename A>
void add_direction(A* __restrict sum, const A* __restrict row, const Seen<A>& seen, const A* __restrict mean,
                   int64_t C) {
  const A of_row = seen.inverse / seen.distance, of_mean = A{1} / seen.distance;
  if (!mean)
    for (int64_t c = 0; c < C; ++c) sum[c] += of_row * row[c];
  else
    for (int64_t c = 0; c < C; ++c) sum[c] += of_row * row[c] - of_mean * mean[c];
}

template <typename T>
struct Directions {
  using A = accumulator_t<T>;
  const Rows<T> values;
  const bool* counts;  // null: all
  const A* mean;       // null: none
  const int64_t C = values.C;

  bool is_counted(int64_t n) const { return !counts || counts[n]; }

  void add_rows(const Csr& csr, int64_t first, int64_t last, A* sum, A* space) const {
    for (int64_t e = first; e < last; ++e) {
      const int64_t n = csr.id(e);
      if (e + 1 < last) fetch(values[csr.id(e + 1)], C);
      if (!is_counted(n)) continue;
      const A* row = as_accumulators(values[n], space, C);
      add_direction(sum, row, look_at(row, mean, C), mean, C);
    }
  }

  // `partial` is (slot_count(entries), C), and scratch.
  void sum_segments(const Csr& csr, A* partial, A* out) const {
    for (int64_t s = 0; s < csr.owners; ++s)
      if (csr.begin(s) == csr.end(s)) std::fill_n(out + s * C, C, A{0});
    torch::stable::parallel_for(0, csr.entries, rows_per_thread(C), [&](int64_t begin, int64_t end) {
      std::vector<A> space(std::is_same_v<T, A> ? 0 : C);
      for_parts_starting_in(csr, begin, end, [&](const Part& part) {
        A* sum = part.opens_segment ? out + part.segment * C : partial + part.slot() * C;
        std::fill_n(sum, C, A{0});
        add_rows(csr, part.first, part.last, sum, space.data());
      });
    });
    for_later_parts(csr, [&](const Part& part) {
      A* sum = out + part.segment * C;
      const A* later = partial + part.slot() * C;
      for (int64_t c = 0; c < C; ++c) sum[c] += later[c];
    });
  }

  A product(const A* __restrict row, const A* __restrict segment) const {
    const Seen<A> seen = look_at(row, mean, C);
    if (!mean) return seen.inverse * dot(row, segment, C);
    const auto [along] = add_columns<A, 1>(
        C, [&](auto at, auto* sums) { sums[0] += (seen.inverse * at(row) - at(mean)) * at(segment); });
    return along / seen.distance;
  }

  void dot_segments(const A* segments, const int64_t* index, int64_t N, A* out) const {
    torch::stable::parallel_for(0, N, rows_per_thread(C), [&](int64_t first, int64_t last) {
      std::vector<A> space(std::is_same_v<T, A> ? 0 : C);
      for (int64_t n = first; n < last; ++n)
        out[n] = product(as_accumulators(values[n], space.data(), C), segments + index[n] * C);
    });
  }

  Pull<A> pull(const A* __restrict row, const A* __restrict grad) const {
    const Seen<A> seen = look_at(row, mean, C);
    if (!mean) {
      const A on_unit = seen.inverse * dot(row, grad, C);
      return pull_of(seen, on_unit, A{1}, on_unit);
    }
    const auto [along, turned, on_unit] = add_columns<A, 3>(C, [&](auto at, auto* sums) {
      const auto unit = seen.inverse * at(row), offset = unit - at(mean), upstream = at(grad);
      sums[0] += upstream * offset;
      sums[1] += offset * unit;
      sums[2] += upstream * unit;
    });
    return pull_of(seen, along, turned, on_unit);
  }

  void turn(const A* __restrict row, const A* __restrict grad, A* __restrict out) const {
    const Pull<A> by = pull(row, grad);
    const A of_row = by.scale * by.by_row, of_mean = by.scale * by.by_mean;
    if (const A* __restrict m = mean)
      for (int64_t c = 0; c < C; ++c) out[c] = by.scale * grad[c] - of_row * row[c] + of_mean * m[c];
    else
      for (int64_t c = 0; c < C; ++c) out[c] = by.scale * grad[c] - of_row * row[c];
  }

  // `space` has 3 C elements.
  void write_gradient(int64_t n, const A* grad, const T* __restrict added, A* __restrict space, T* out) const {
    A* __restrict made = space + C;
    if constexpr (std::is_same_v<T, A>) made = out;
    if (is_counted(n))
      turn(as_accumulators(values[n], space, C), grad, made);
    else
      std::fill_n(made, C, A{0});
    if (added) {
      const A* __restrict more = as_accumulators(added, space + 2 * C, C);
      for (int64_t c = 0; c < C; ++c) made[c] += more[c];
    }
    if constexpr (!std::is_same_v<T, A>) scale(made, A{1}, out, C);
  }

  void backward(const A* grads, const int64_t* index, const std::optional<Rows<T>>& added, int64_t N, T* out) const {
    torch::stable::parallel_for(0, N, rows_per_thread(C), [&](int64_t first, int64_t last) {
      std::vector<A> space(std::is_same_v<T, A> ? 0 : 3 * C);
      for (int64_t n = first; n < last; ++n)
        write_gradient(n, grads + index[n] * C, added ? (*added)[n] : nullptr, space.data(), out + n * C);
    });
  }
};

Tensor direction_sums(const Tensor& values, const std::optional<Tensor>& counts, const std::optional<Tensor>& mean,
                      const std::optional<Tensor>& row_ids, const Tensor& offsets, const std::optional<Tensor>&) {
  const DirectionInputs inputs(values, counts, mean);
  const int64_t N = values.size(0), C = values.size(1);
  const List list(row_ids, offsets, N);
  const Csr csr = checked(list, N);
  const Tensor sums = new_empty(values, {csr.owners, C}, accumulator_dtype(inputs.dtype()));
  const Tensor partial = new_empty(sums, {slot_count(csr.entries), C});
  with_floating_dtype(inputs.dtype(), "direction_sums", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    inputs.as<Directions, T>().sum_segments(csr, partial.mutable_data_ptr<A>(), sums.mutable_data_ptr<A>());
  });
  return sums;
}

Tensor direction_dot(const Tensor& values, const Tensor& segments, const std::optional<Tensor>& mean,
                     const Tensor& index) {
  const DirectionInputs inputs(values, std::nullopt, mean);
  check_direction_segments(values, segments, index);
  const int64_t N = values.size(0);
  const List list(index, std::nullopt, 0);
  const Csr csr = checked(list, segments.size(0));
  const Tensor s = torch::stable::contiguous(segments), out = new_empty(s, {N});
  with_floating_dtype(inputs.dtype(), "direction_dot", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    inputs.as<Directions, T>().dot_segments(s.const_data_ptr<A>(), csr.ids, N, out.mutable_data_ptr<A>());
  });
  return out;
}

Tensor direction_sums_backward(const Tensor& values, const std::optional<Tensor>& counts,
                               const std::optional<Tensor>& mean, const Tensor& grad, const Tensor& index,
                               const std::optional<Tensor>& added) {
  const DirectionInputs inputs(values, counts, mean);
  check_direction_segments(values, grad, index);
  check_added(values, added);
  const int64_t N = values.size(0);
  const List list(index, std::nullopt, 0);
  const Csr csr = checked(list, grad.size(0));
  const Tensor g = torch::stable::contiguous(grad), out = new_empty(values, {N, values.size(1)});
  std::optional<Tensor> more;
  if (added) more = with_contiguous_rows(*added);
  with_floating_dtype(inputs.dtype(), "direction_sums_backward", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    std::optional<Rows<T>> rows;
    if (more) rows = rows_of<T>(*more);
    inputs.as<Directions, T>().backward(g.const_data_ptr<A>(), csr.ids, rows, N, out.mutable_data_ptr<T>());
  });
  return out;
}
}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("direction_sums", TORCH_BOX(&geoguide3d::cpu::direction_sums));
  m.impl("direction_dot", TORCH_BOX(&geoguide3d::cpu::direction_dot));
  m.impl("direction_sums_backward", TORCH_BOX(&geoguide3d::cpu::direction_sums_backward));
}
