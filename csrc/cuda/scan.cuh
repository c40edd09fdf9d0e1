// Running sums, and numbers that the host has to know.
#pragma once
#include <torch/csrc/stable/ops.h>

#include "launch.cuh"

namespace geoguide3d::cuda {

// sums[i] = values[0] + ... + values[i] of int64 values (N,).
inline torch::stable::Tensor running_sums(const torch::stable::Tensor& values) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  const std::optional<torch::headeronly::ScalarType> same_dtype;
  std::array<StableIValue, 3> stack{from(values), from(int64_t{0}), from(same_dtype)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::cumsum", "", stack.data(), TORCH_ABI_VERSION));
  return to<torch::stable::Tensor>(stack[0]);
}

// Waits for the device.
template <typename T>
T read_from_device(const T* address, cudaStream_t stream) {
  T value;
  STD_CUDA_CHECK(cudaMemcpyAsync(&value, address, sizeof(value), cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  return value;
}
}  // namespace geoguide3d::cuda
