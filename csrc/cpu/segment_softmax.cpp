#include "../segment_softmax.h"

#include <torch/csrc/stable/library.h>

#include <bit>

#include "fold.h"
#include "softplus.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

// exp(-a) for 0 <= a, 0 below e^-87; NaN gives NaN. In bits, because GCC leaves a loop with a branch scalar.
float power(float a) {
  const int32_t bits = std::bit_cast<int32_t>(a), infinity = 0x7f800000;
  const int32_t beyond = (std::bit_cast<int32_t>(87.0f) - bits) >> 31, number = ~((infinity - bits) >> 31);
  return std::bit_cast<float>(std::bit_cast<int32_t>(exp_of_negative(a)) & ~(beyond & number));
}
double power(double a) {
  return std::exp(-a);
}

template <typename A>
[[gnu::noinline]] void to_powers(const A* __restrict maximum, A* __restrict row, int64_t C) {
  for (int64_t c = 0; c < C; ++c) row[c] = power(reference_score(maximum[c]) - row[c]);
}

template <typename A>
[[gnu::noinline]] void to_powers(A maximum, A* __restrict scores, int64_t count) {
  for (int64_t i = 0; i < count; ++i) scores[i] = power(maximum - scores[i]);
}

// `powers` (N, C) come in the order of the list, so that a narrow table is one long row for the exponential.
template <typename T, typename A>
void raise(const Rows<T>& scores, const Csr& csr, const A* maxima, A* powers) {
  const int64_t C = scores.C;
  torch::stable::parallel_for(0, csr.entries, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for_parts_starting_in(csr, begin, end, [&](const Part& part) {
      const A* maximum = maxima + part.segment * C;
      A* const all = powers + part.first * C;
      for (int64_t e = part.first; e < part.last; ++e) convert(scores[csr.id(e)], powers + e * C, C);
      if (C == 1) return to_powers(reference_score(*maximum), all, part.last - part.first);
      for (A* row = all; row < powers + part.last * C; row += C) to_powers(maximum, row, C);
    });
  });
}

template <typename A, typename T>
void divide(const A* powers, const A* sums, const Csr& csr, T* out, int64_t C) {
  torch::stable::parallel_for(0, csr.entries, rows_per_thread(C), [&](int64_t begin, int64_t end) {
    for_parts_starting_in(csr, begin, end, [&](const Part& part) {
      const A* sum = sums + part.segment * C;
      for (int64_t e = part.first; e < part.last; ++e) {
        T* row = out + csr.id(e) * C;
        for (int64_t c = 0; c < C; ++c) row[c] = static_cast<T>(powers[e * C + c] / sum[c]);
      }
    });
  });
}

Tensor segment_softmax(const Tensor& scores, const std::optional<Tensor>& row_ids, const Tensor& offsets,
                       const std::optional<Tensor>&) {
  check_matrix(scores, "scores");
  const int64_t N = scores.size(0), C = scores.size(1);
  const List list(row_ids, offsets, N);
  check_every_row_once(list, N);
  const Csr csr = checked(list, N), in_order{nullptr, csr.offsets, csr.owners, csr.entries};
  const Tensor x = with_contiguous_rows(scores);
  const ScalarType dtype = accumulator_dtype(scores.scalar_type());
  const Tensor out = new_empty(x, {N, C}), powers = new_empty(x, {N, C}, dtype);
  const Tensor folded = new_empty(x, {csr.owners, C}, dtype), partial = new_empty(x, {slot_count(N), C}, dtype);
  with_floating_dtype(x.scalar_type(), "segment_softmax", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    A *parts = partial.mutable_data_ptr<A>(), *of_segments = folded.mutable_data_ptr<A>();
    A* raised = powers.mutable_data_ptr<A>();
    fold_segments(Extremum<A, true>{}, rows_of<T>(x), csr, parts, of_segments);
    raise(rows_of<T>(x), csr, of_segments, raised);
    fold_segments(Sum<A>{nullptr}, Rows<A>{raised, C, C}, in_order, parts, of_segments);
    divide(raised, of_segments, csr, out.mutable_data_ptr<T>(), C);
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("segment_softmax", TORCH_BOX(&geoguide3d::cpu::segment_softmax));
}
