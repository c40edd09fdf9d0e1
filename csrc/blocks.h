// Parts of a buffer as matrices for mm_out: made without the dispatcher, and without autograd, on any thread.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <type_traits>

#include "dtypes.h"

namespace geoguide3d {

template <typename A>
constexpr ScalarType kDtype = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;

struct Extent {
  int64_t rows, columns;
};

// A (rows, columns) view whose rows lie `stride` elements apart. The buffer must outlive it.
template <typename A>
torch::stable::Tensor block(const A* data, Extent extent, int64_t stride, torch::stable::Device device) {
  const std::array<int64_t, 2> sizes{extent.rows, extent.columns}, strides{stride, 1};
  return torch::stable::from_blob(const_cast<A*>(data), sizes, strides, device, kDtype<A>);
}

// The same view turned around: (columns, rows).
template <typename A>
torch::stable::Tensor block_transposed(const A* data, Extent extent, int64_t stride, torch::stable::Device device) {
  const std::array<int64_t, 2> sizes{extent.columns, extent.rows}, strides{1, stride};
  return torch::stable::from_blob(const_cast<A*>(data), sizes, strides, device, kDtype<A>);
}
}  // namespace geoguide3d
