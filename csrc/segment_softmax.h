// Contract of segment_softmax, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/segment_softmax.py.
// Shapes, types and lists are those of csrc/segment_reduce.h; the lists of segments hold every row exactly once.
//
//   segment_softmax(scores (N, C), row_ids, offsets, index) -> (N, C), the dtype of scores
//     out[n, c] = exp(scores[n, c] - m) / sum of exp(scores[k, c] - m) over the rows k of n's segment, m the greatest
//     of them; powers and sums in A. Columns are independent. `index` as in segment_sum.
//
//   -inf gives 0; a segment of nothing but -inf gives NaN, as does one with NaN or +inf, as torch.softmax does.
//   float32 powers are within 4e-7 of themselves on the CPU, and 0 below e^-87. Deterministic as segment_sum is.
//   N = 0, S = 0 and C = 0 are valid.
#pragma once
#include <cmath>

#include "segment_extremum.h"
#include "segment_reduce.h"

namespace geoguide3d {

// What scores are compared with. A segment of -inf alone must give 0 / 0, not exp(-inf + inf).
template <typename A>
C10_HOST_DEVICE A reference_score(A maximum) {
  return maximum == static_cast<A>(-INFINITY) ? A{0} : maximum;
}

inline void check_every_row_once(const List& list, int64_t N) {
  STD_TORCH_CHECK(list.entries == N, "the lists must hold each of ", N, " rows once, got ", list.entries, " entries");
}
}  // namespace geoguide3d
