// How the factored form of gram_mse cuts its symmetric matrix.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.h"

namespace geoguide3d {

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// A block of T with its rows not below its columns.
struct ColumnBlock {
  int64_t row, column;
  Extent extent;
};

// Large ones first. Blocks on the diagonal are cut once more, because they hold everything twice.
inline std::vector<ColumnBlock> upper_blocks(int64_t W, int64_t block_columns) {
  const int64_t halves = 2 * std::max<int64_t>(1, divide_up(W, block_columns));
  const auto border = [&](int64_t half) { return W * half / halves; };
  const auto between = [&](int64_t i, int64_t j, int64_t size) {
    return ColumnBlock{border(i), border(j), {border(i + size) - border(i), border(j + size) - border(j)}};
  };
  std::vector<ColumnBlock> blocks;
  for (int64_t i = 0; i < halves; i += 2)
    for (int64_t j = i + 2; j < halves; j += 2) blocks.push_back(between(i, j, 2));
  for (int64_t i = 0; i < halves; i += 2) {
    blocks.push_back(between(i, i, 1));
    blocks.push_back(between(i, i + 1, 1));
    blocks.push_back(between(i + 1, i + 1, 1));
  }
  return blocks;
}
}  // namespace geoguide3d
