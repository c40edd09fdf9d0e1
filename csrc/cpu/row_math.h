// Sums along one row, fast and always in the same order.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../row_length.h"

namespace geoguide3d::cpu {

// Sixteen sums side by side, because the compiler may not reorder the additions of one.
template <typename A>
A row_dot(const A* a, const A* b, int64_t C) {
  A lanes[16] = {}, sum = 0;
  int64_t c = 0;
  for (; c + 16 <= C; c += 16)
    for (int64_t lane = 0; lane < 16; ++lane) lanes[lane] += a[c + lane] * b[c + lane];
  for (; c < C; ++c) sum += a[c] * b[c];
  for (const A lane : lanes) sum += lane;
  return sum;
}

// 1 / max(length, kShortestRow); NaN where the row holds NaN.
template <typename A>
A inverse_length(const A* row, int64_t C) {
  return A{1} / std::max(std::sqrt(row_dot(row, row, C)), static_cast<A>(kShortestRow));
}

// Whether the row was shorter than kShortestRow: then it was divided by a constant.
template <typename A>
bool is_clamped(A inverse) {
  return inverse >= static_cast<A>(1 / kShortestRow);
}
}  // namespace geoguide3d::cpu
