#include "../csr_transpose.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "grouping.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

std::tuple<Tensor, Tensor> csr_transpose(const std::optional<Tensor>& ids, const std::optional<Tensor>& offsets,
                                         int64_t M) {
  STD_TORCH_CHECK(M >= 0, "count must not be negative, got ", M);
  const List list(ids, offsets, M);
  const Csr csr = checked(list, M);
  const Tensor& like = ids ? *ids : *offsets;
  const Tensor owners = new_empty(like, {csr.entries}), begins = new_empty(like, {M + 1});
  transpose(csr, M, owners.mutable_data_ptr<int64_t>(), begins.mutable_data_ptr<int64_t>());
  return {owners, begins};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("csr_transpose", TORCH_BOX(&geoguide3d::cpu::csr_transpose));
}
