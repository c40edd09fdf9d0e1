// Which of a run of points may lie in an image, found without a division and without a branch.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../camera.h"

namespace geoguide3d::cpu {
constexpr int64_t kChunk = 512;  // points; with their coordinates in float64 they stay in the nearest cache

// Points of one chunk, coordinate by coordinate.
struct Chunk {
  double x[kChunk], y[kChunk], z[kChunk];

  // Chunk c of N points.
  template <typename T>
  void load(const T* all, int64_t c, int64_t N) {
    const int64_t count = std::min(kChunk, N - c * kChunk);
    const T* __restrict points = all + 3 * c * kChunk;
    for (int64_t i = 0; i < count; ++i) {
      x[i] = static_cast<double>(points[3 * i]);
      y[i] = static_cast<double>(points[3 * i + 1]);
      z[i] = static_cast<double>(points[3 * i + 2]);
    }
    std::fill(x + count, x + kChunk, std::nan(""));  // whole vectors below; NaN lies in no image
  }
  ImagePoint project(const double* matrix, int32_t i) const { return geoguide3d::project(matrix, x[i], y[i], z[i]); }
};

inline int64_t chunk_count(int64_t N) {
  return (N + kChunk - 1) / kChunk;
}

// Pixels, edges included.
struct Window {
  double left, right, top, bottom;
};

// may_lie[i] is 1 where point i may lie in the window: for all that do, and few others. A hundredth of a pixel more
// than half of one is far more than rounding. Returns whether there are any: scans have some order, and then few chunks
// of them lie in an image.
inline bool mark_candidates(const double* matrix, const Window& window, const Chunk& chunk,
                            uint8_t* __restrict may_lie) {
  const double left = window.left - 0.51, right = window.right + 0.51;
  const double top = window.top - 0.51, bottom = window.bottom + 0.51;
  uint8_t any = 0;
  for (int64_t i = 0; i < kChunk; ++i) {
    const ImagePoint p = project(matrix, chunk.x[i], chunk.y[i], chunk.z[i]);
    may_lie[i] =
        (p.z > 0) & (p.uz >= left * p.z) & (p.uz <= right * p.z) & (p.vz >= top * p.z) & (p.vz <= bottom * p.z);
    any |= may_lie[i];
  }
  return any != 0;
}

// Writes the candidates, ascending, and returns how many they are.
inline int32_t find_candidates(const double* matrix, const Window& window, const Chunk& chunk, int32_t* found) {
  alignas(64) uint8_t may_lie[kChunk];
  if (!mark_candidates(matrix, window, chunk, may_lie)) return 0;
  int32_t count = 0;
  for (int32_t i = 0; i < kChunk; ++i) {  // without a branch, which points in random order would make costly
    found[count] = i;
    count += may_lie[i];
  }
  return count;
}
}  // namespace geoguide3d::cpu
