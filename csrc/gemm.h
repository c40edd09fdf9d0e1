// torch's own matrix product, on the device of its tensors: nobody here writes one.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>

namespace geoguide3d {

// out = a @ b. (m, k), (k, n) and (m, n) of one dtype, any strides; out must not overlap a or b. Its tensors should not
// require gradients: a kernel that calls this from a thread of parallel_for passes tensors that it made itself, because
// such threads do not know that autograd is off.
inline void mm_out(const torch::stable::Tensor& a, const torch::stable::Tensor& b, const torch::stable::Tensor& out) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<torch::stable::Tensor>(stack[0]);  // takes over the reference that the call returned
}
}  // namespace geoguide3d
