#include "../segment_extremum.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "fold.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

// The smallest position in a part whose value is the extremum. Positions are floats, exact up to kPartRows, so that
// they fill a vector register as values do.
template <typename A>
struct FirstPosition {
  const A* extrema;
  int64_t first;
  static A start() { return kPartRows; }
  A factor(int64_t, int64_t e) const { return static_cast<A>(e - first); }
  A fold(A state, A value, A position, int64_t c) const {
    const bool holds_it = (value == extrema[c]) | (value != value);
    return holds_it & (position < state) ? position : state;
  }
};

// Writes the rows that were found where none was found before, which `rows` says by N.
template <typename A>
void take_found(const A* position, const Csr& csr, const Part& part, int64_t* rows, int64_t N, int64_t C) {
  for (int64_t c = 0; c < C; ++c)
    if (rows[c] == N && position[c] < kPartRows) rows[c] = csr.id(part.first + static_cast<int64_t>(position[c]));
}

// `partial` is (slot_count(entries), C), and scratch.
template <typename T, typename A>
void find_first(const Rows<T>& values, const A* extrema, const Csr& csr, A* partial, int64_t* rows, int64_t N) {
  const int64_t C = values.C;
  std::fill_n(rows, csr.owners * C, N);
  torch::stable::parallel_for(0, csr.entries, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    std::vector<A> opening(C);
    for_parts_starting_in(csr, begin, end, [&](const Part& part) {
      A* position = part.opens_segment ? opening.data() : partial + part.slot() * C;
      const FirstPosition<A> op{extrema + part.segment * C, part.first};
      std::fill_n(position, C, op.start());
      fold_rows(op, position, values, csr, part.first, part.last);
      if (part.opens_segment) take_found(position, csr, part, rows + part.segment * C, N, C);
    });
  });
  for_later_parts(
      csr, [&](const Part& part) { take_found(partial + part.slot() * C, csr, part, rows + part.segment * C, N, C); });
}

// A function of its own, because GCC vectorises this loop only where it sees that the arrays do not overlap.
template <typename A>
[[gnu::noinline]] void add_where(A* __restrict sum, const A* __restrict segment, const int64_t* __restrict rows,
                                 int64_t n, int64_t C) {
  for (int64_t c = 0; c < C; ++c) sum[c] += rows[c] == n ? segment[c] : A{0};
}

// `lists` holds the segments of each row.
template <typename A, typename T>
void place_segments(const Rows<A>& segments, const int64_t* rows, const Csr& lists, T* out) {
  const int64_t C = segments.C;
  torch::stable::parallel_for(0, lists.owners, rows_per_thread(C), [&](int64_t first, int64_t last) {
    std::vector<A> sum(C);
    for (int64_t n = first; n < last; ++n) {
      std::fill(sum.begin(), sum.end(), A{0});
      for (int64_t e = lists.begin(n); e < lists.end(n); ++e) {
        const int64_t s = lists.id(e);
        const bool again = e > lists.begin(n) && s == lists.id(e - 1);  // the row is twice in this segment
        if (!again) add_where(sum.data(), segments[s], rows + s * C, n, C);
      }
      scale(sum.data(), A{1}, out + n * C, C);
    }
  });
}

Tensor segment_extremum(const Tensor& values, const std::optional<Tensor>& row_ids, const Tensor& offsets, bool largest,
                        const std::optional<Tensor>&) {
  check_matrix(values, "values");
  const List list(row_ids, offsets, values.size(0));
  const Csr csr = checked(list, values.size(0));
  const Tensor v = with_contiguous_rows(values);
  const ScalarType dtype = accumulator_dtype(values.scalar_type());
  const Tensor out = new_empty(v, {csr.owners, values.size(1)}, dtype);
  const Tensor partial = new_empty(v, {slot_count(csr.entries), values.size(1)}, dtype);
  with_floating_dtype(v.scalar_type(), "segment_extremum", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    A *parts = partial.mutable_data_ptr<A>(), *all = out.mutable_data_ptr<A>();
    if (largest)
      fold_segments(Extremum<A, true>{}, rows_of<T>(v), csr, parts, all);
    else
      fold_segments(Extremum<A, false>{}, rows_of<T>(v), csr, parts, all);
  });
  return out;
}

Tensor segment_first(const Tensor& values, const Tensor& extrema, const std::optional<Tensor>& row_ids,
                     const Tensor& offsets) {
  check_matrix(values, "values");
  const int64_t N = values.size(0), C = values.size(1);
  const List list(row_ids, offsets, N);
  check_extrema(extrema, values, list.owners);
  const Csr csr = checked(list, N);
  const Tensor v = with_contiguous_rows(values), x = torch::stable::contiguous(extrema);
  const Tensor rows = new_empty(v, {csr.owners, C}, ScalarType::Long);
  const Tensor partial = new_empty(x, {slot_count(csr.entries), C});
  with_floating_dtype(v.scalar_type(), "segment_first", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    find_first(rows_of<T>(v), x.const_data_ptr<A>(), csr, partial.mutable_data_ptr<A>(),
               rows.mutable_data_ptr<int64_t>(), N);
  });
  return rows;
}

Tensor segment_place(const Tensor& segments, const Tensor& rows, const Tensor& segment_ids,
                     const std::optional<Tensor>& row_offsets, ScalarType dtype) {
  check_matrix(segments, "segments");
  check_placed(segments, rows, dtype);
  const List list(segment_ids, row_offsets, 0);
  const Csr lists = checked(list, segments.size(0));
  const Tensor s = with_contiguous_rows(segments), r = torch::stable::contiguous(rows);
  const Tensor out = new_empty(s, {lists.owners, segments.size(1)}, dtype);
  with_floating_dtype(dtype, "segment_place", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    place_segments(rows_of<A>(s), r.const_data_ptr<int64_t>(), lists, out.mutable_data_ptr<T>());
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("segment_extremum", TORCH_BOX(&geoguide3d::cpu::segment_extremum));
  m.impl("segment_first", TORCH_BOX(&geoguide3d::cpu::segment_first));
  m.impl("segment_place", TORCH_BOX(&geoguide3d::cpu::segment_place));
}
