// Contract of submanifold_map and strided_map, shared by csrc/cpu, csrc/cuda and the references in
// geoguide3d/ops/kernel_map.py.
//
//   Which of M occupied cells of a grid meet at each tap of a convolution.
//
//     cells  (M, 4) int64, any strides: batch, x, y, z; in any order, no cell twice
//
//   Taps are numbered (i * k + j) * k + l for steps (i, j, l) along (x, y, z), K = k^3 of them, k = kernel_size.
//
//   submanifold_map(cells, kernel_size) -> neighbours (K, M) int32
//     neighbours[t, m] = the row of the cell at cells[m] + (0, i, j, l) - (0, r, r, r), r = kernel_size / 2; -1 where
//     it is not occupied. kernel_size is odd. Row t is the inverse of row K - 1 - t. Cells are of any sign.
//   strided_map(cells, kernel_size, stride, padding) -> (coarse (P, 4) int64, children (K, P) int32,
//                                                        parents (K, M) int32)
//     An output at o reads the cells at o * stride - padding + (i, j, l). The grid begins at 0 and has no end: outputs
//     are all o >= 0 that read an occupied cell, in that cell's batch.
//     coarse          the outputs, in lexicographic order
//     children[t, p]  the row of the cell that output p reads by tap t; -1 where none is
//     parents[t, m]   the output that reads cell m by tap t; -1 where none does. The inverse of children.
//     x, y and z of the cells are in [0, 2^62), or it is an error.
//
//   M = 0 is valid. M must be below 2^31, and so must P; the extents of batch, x, y and z (of cells with r more on both
//   sides of x, y and z, or of outputs) must have a product below 2^63, so that a cell is one key; else an error, and
//   so is a cell that occurs twice, as far as an output reads it. Results are exact, the same on both devices and for
//   any number of threads. K * M is counted in 64 bits. A map takes 4 K bytes for each of M, or of M and P.
//
//   Keys are sorted, not hashed: outputs have an order, and what a row of taps reads is then one walk. On CUDA a
//   strided map takes 44 bytes of working memory for each of ceil(k / stride)^3 outputs that a cell may reach, and both
//   wait for the device: to learn the extents, P, and whether a cell occurs twice.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "cpu/check_value.h"
#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline void check_cells(const Tensor& cells) {
  STD_TORCH_CHECK(cells.dim() == 2 && cells.size(1) == 4, "cells must be (M, 4)");
  STD_TORCH_CHECK(cells.scalar_type() == ScalarType::Long, "cells must be int64");
  STD_TORCH_CHECK(cells.size(0) <= std::numeric_limits<int32_t>::max(), "at most 2^31 - 1 cells fit");
}

inline void check_outputs(int64_t P) {
  STD_TORCH_CHECK(P <= std::numeric_limits<int32_t>::max(), P, " outputs, at most 2^31 - 1 fit");
}

inline void check_kernel_size(int64_t kernel_size) {
  STD_TORCH_CHECK(kernel_size > 0 && kernel_size % 2 == 1, "kernel_size must be odd, got ", kernel_size);
}

// Both on the host: what is read from the device is checked there too.
inline void check_once(bool once, const int64_t* cell) {
  cpu::check_value(once, "cells must differ, [", cell[0], ", ", cell[1], ", ", cell[2], ", ", cell[3],
                   "] occurs twice");
}

// Batch, x, y and z.
struct Cell {
  int64_t at[4];
};

// The least and the greatest of each axis.
struct Corners {
  Cell low, high;
};

// A cell's key is its place in a box around all cells, batch above x above y above z.
struct Box {
  int64_t least[4], step[4];
  uint64_t size;

  // `reach` empty cells lie around x, y and z.
  explicit Box(const Corners& corners, int64_t reach = 0) {
    double product = 1;  // counted first as a double, which does not overflow
    for (int axis = 0; axis < 4; ++axis)
      product *= static_cast<double>(corners.high.at[axis]) - static_cast<double>(corners.low.at[axis]) + 1 +
                 static_cast<double>(axis ? 2 * reach : 0);
    cpu::check_value(product < 9.2e18, "cells span a box of ", product, " cells: more than 2^63 cells");
    int64_t next = 1;
    for (int axis = 3; axis >= 0; --axis) {
      step[axis] = next;
      least[axis] = corners.low.at[axis] - (axis ? reach : 0);
      next *= corners.high.at[axis] - corners.low.at[axis] + 1 + (axis ? 2 * reach : 0);
    }
    size = static_cast<uint64_t>(next);
  }
  int bits() const { return std::bit_width(size - 1); }
  C10_HOST_DEVICE int64_t key(const Cell& cell) const {
    int64_t key = 0;
    for (int axis = 0; axis < 4; ++axis) key += (cell.at[axis] - least[axis]) * step[axis];
    return key;
  }
  C10_HOST_DEVICE Cell cell(int64_t key) const {
    Cell cell;
    for (int axis = 0; axis < 4; ++axis) {
      cell.at[axis] = least[axis] + key / step[axis];
      key %= step[axis];
    }
    return cell;
  }
};

// What the outputs of a strided convolution read.
struct Window {
  int64_t kernel_size, stride, padding;

  void check() const {
    STD_TORCH_CHECK(0 < kernel_size && kernel_size <= 1000 && stride > 0 && 0 <= padding && padding < int64_t{1} << 31,
                    "kernel_size must be in [1, 1000], stride at least 1, padding in [0, 2^31), got ", kernel_size,
                    ", ", stride, ", ", padding);
  }
  int64_t taps() const { return kernel_size * kernel_size * kernel_size; }
  // Outputs along an axis, and in all, that can read a cell.
  C10_HOST_DEVICE int64_t along() const { return (kernel_size + stride - 1) / stride; }
  C10_HOST_DEVICE int64_t most() const { return along() * along() * along(); }

  // Calls body(output, tap) for each output that reads the cell. Along an axis the last output reads it by the least
  // tap; the one before by a tap that is `stride` more.
  template <typename Body>
  C10_HOST_DEVICE void for_outputs(const int64_t* cell, const Body& body) const {
    int64_t last[3], least[3], count[3];
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t place = cell[axis + 1] + padding;
      last[axis] = place / stride;
      least[axis] = place - last[axis] * stride;
      count[axis] = least[axis] < kernel_size ? (kernel_size - least[axis] + stride - 1) / stride : 0;
      if (count[axis] > last[axis] + 1) count[axis] = last[axis] + 1;
    }
    for (int64_t i = 0; i < count[0]; ++i)
      for (int64_t j = 0; j < count[1]; ++j)
        for (int64_t k = 0; k < count[2]; ++k) {
          const int64_t x = least[0] + i * stride, y = least[1] + j * stride, z = least[2] + k * stride;
          body(Cell{{cell[0], last[0] - i, last[1] - j, last[2] - k}}, (x * kernel_size + y) * kernel_size + z);
        }
  }

  // Corners of the outputs, of those of the cells. A box without outputs may be inside out.
  Corners outputs(Corners corners) const {
    for (int axis = 1; axis < 4; ++axis) {
      int64_t &low = corners.low.at[axis], &high = corners.high.at[axis];
      cpu::check_value(low >= 0 && high < int64_t{1} << 62, "x, y and z of a strided map must be in [0, 2^62), got ",
                       low < 0 ? low : high);
      const int64_t first = low + padding - kernel_size + 1;  // times stride, of the least output
      low = first > 0 ? (first + stride - 1) / stride : 0;
      high = std::max(low, (high + padding) / stride);
    }
    return corners;
  }
};
}  // namespace geoguide3d
