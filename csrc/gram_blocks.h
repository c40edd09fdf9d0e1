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

// Blocks that cover the upper triangle of a (W, W) matrix, large ones first. Halves of halves, so that the blocks on
// the diagonal, which hold everything twice, become small while the others stay as large as products like them.
class UpperBlocks {
 public:
  UpperBlocks(int64_t W, int64_t largest) : largest_(largest) {
    cut_triangle(0, W);
    std::stable_sort(blocks_.begin(), blocks_.end(), [](const ColumnBlock& a, const ColumnBlock& b) {
      return a.extent.rows * a.extent.columns > b.extent.rows * b.extent.columns;
    });
  }
  const std::vector<ColumnBlock>& blocks() const { return blocks_; }

 private:
  void cut_triangle(int64_t begin, int64_t end) {
    if (end - begin <= kSmallest) return blocks_.push_back({begin, begin, {end - begin, end - begin}});
    const int64_t middle = begin + (end - begin) / 2;
    cut_square({begin, middle, {middle - begin, end - middle}});
    cut_triangle(begin, middle);
    cut_triangle(middle, end);
  }

  void cut_square(ColumnBlock square) {
    const auto [rows, columns] = square.extent;
    const int64_t down = divide_up(rows, largest_), across = divide_up(columns, largest_);
    for (int64_t i = 0; i < down; ++i)
      for (int64_t j = 0; j < across; ++j) {
        const int64_t row = rows * i / down, column = columns * j / across;
        const Extent extent{rows * (i + 1) / down - row, columns * (j + 1) / across - column};
        blocks_.push_back({square.row + row, square.column + column, extent});
      }
  }

  static constexpr int64_t kSmallest = 128;
  int64_t largest_;
  std::vector<ColumnBlock> blocks_;
};
}  // namespace geoguide3d
