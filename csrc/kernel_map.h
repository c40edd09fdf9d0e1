// Contract of submanifold_map and strided_map, shared by csrc/cpu and the references in geoguide3d/ops/kernel_map.py.
//
//   Which of M occupied cells of a grid meet at each tap of a convolution.
//
//     cells  (M, 4) int64, any strides: batch, x, y, z; in any order, no cell twice, of any sign
//
//   Taps are numbered (i * k + j) * k + l for steps (i, j, l) along (x, y, z), K = k^3 of them.
//
//   submanifold_map(cells, kernel_size) -> neighbours (K, M) int32
//     neighbours[t, m] = the row of the cell at cells[m] + (0, i, j, l) - (0, r, r, r), r = kernel_size / 2; -1 where
//     it is not occupied. kernel_size is odd. Row t is the inverse of row K - 1 - t.
//   strided_map(cells, stride) -> (coarse (P, 4) int64, children (K, P) int32, parents (K, M) int32)
//     coarse          batch and floor((x, y, z) / stride) of the occupied blocks, in lexicographic order
//     children[t, p]  the row of the cell of block p whose (x, y, z) mod stride is tap t; -1 where none is
//     parents[t, m]   the block of cell m where t is the tap of that cell; else -1. The inverse of children.
//
//   M = 0 is valid. M must be below 2^31; the extents of batch, x, y and z (with r more on both sides of x, y and z)
//   must have a product below 2^63, so that a cell is one key; else an error, and so is a cell that occurs twice.
//   Results are exact and the same for any number of threads. K * M is counted in 64 bits.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <limits>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline void check_cells(const Tensor& cells) {
  STD_TORCH_CHECK(cells.dim() == 2 && cells.size(1) == 4, "cells must be (M, 4)");
  STD_TORCH_CHECK(cells.scalar_type() == ScalarType::Long, "cells must be int64");
  STD_TORCH_CHECK(cells.size(0) <= std::numeric_limits<int32_t>::max(), "at most 2^31 - 1 cells fit");
}
}  // namespace geoguide3d
