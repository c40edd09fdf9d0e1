// Tensors that may be absent.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

namespace geoguide3d {

inline std::optional<torch::stable::Tensor> contiguous(const std::optional<torch::stable::Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return torch::stable::contiguous(*tensor);
}

// Null where there is no tensor.
template <typename T>
const T* data_or_null(const std::optional<torch::stable::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}
}  // namespace geoguide3d
