// Contract of csr_transpose, and of the lists that all segment ops take. Shared by csrc/cpu, csrc/cuda and the
// reference in geoguide3d/ops/csr_transpose.py.
//
//   A list has K owners with E ids in all: owner k has ids[offsets[k]] ... ids[offsets[k + 1] - 1].
//
//     ids      (E,)     int64, or none for 0, 1, 2, ..., E - 1
//     offsets  (K + 1,) int64, rising from 0 to E, or none where every owner has one id (K = E)
//
//   One segment id per row is the list (ids, none) of rows; rows that lie in the order of their segments are the list
//   (none, offsets) of segments; masks that overlap are the list (ids, offsets) of masks.
//
//   csr_transpose(ids, offsets, M) -> (owners (E,) int64, offsets (M + 1,) int64)
//     The list of 0 ... M - 1: for each, the owners that have it, ascending; an owner that has it twice comes twice.
//     Of (index, none) it is the stable sort by segment. ids and offsets must not both be none.
//
//   A stable counting sort (CPU) or radix sort (CUDA), so the order never depends on threads. E = 0, K = 0 and M = 0
//   are valid. An id outside [0, M) and offsets that fall or do not end with E are errors: an exception on the CPU, a
//   device-side assertion on CUDA, as with torch's own indexing (an exception would have to wait for the device).
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/macros/Macros.h>

#include <optional>

#include "dtypes.h"
#include "optional_tensor.h"

namespace geoguide3d {
using torch::stable::Tensor;

// A list as kernels see it.
struct Csr {
  const int64_t* ids;      // null: 0, 1, 2, ...
  const int64_t* offsets;  // null: owner k has the one id ids[k]
  int64_t owners, entries;

  C10_HOST_DEVICE int64_t id(int64_t e) const { return ids ? ids[e] : e; }
  C10_HOST_DEVICE int64_t begin(int64_t k) const { return offsets ? offsets[k] : k; }
  C10_HOST_DEVICE int64_t end(int64_t k) const { return begin(k + 1); }
};

// Rows of C elements as kernels see them; their stride may be anything, also 0.
template <typename T>
struct Rows {
  const T* data;
  int64_t stride, C;
  C10_HOST_DEVICE const T* operator[](int64_t n) const { return data + n * stride; }
};

template <typename T>
Rows<T> rows_of(const Tensor& values) {
  return {values.const_data_ptr<T>(), values.stride(0), values.size(1)};
}

// A list as tensors that are contiguous and of the right type and shape. `rows` is E where there are no ids.
struct [[gnu::visibility("hidden")]] List {
  std::optional<Tensor> ids, offsets;
  int64_t owners, entries;

  List(const std::optional<Tensor>& given_ids, const std::optional<Tensor>& given_offsets, int64_t rows)
      : ids(contiguous(given_ids)), offsets(contiguous(given_offsets)) {
    STD_TORCH_CHECK(ids || offsets, "a list needs ids or offsets");
    STD_TORCH_CHECK(!ids || (ids->dim() == 1 && ids->scalar_type() == ScalarType::Long), "ids must be (E,) int64");
    STD_TORCH_CHECK(!offsets || (offsets->dim() == 1 && offsets->scalar_type() == ScalarType::Long),
                    "offsets must be (K + 1,) int64");
    STD_TORCH_CHECK(!offsets || offsets->size(0) > 0, "offsets must hold at least a 0");
    entries = ids ? ids->size(0) : rows;
    owners = offsets ? offsets->size(0) - 1 : entries;
  }
  Csr csr() const { return {data_or_null<int64_t>(ids), data_or_null<int64_t>(offsets), owners, entries}; }
};

inline void check_matrix(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == 2, name, " must have 2 dimensions, got ", tensor.dim());
}

// Itself where each row is contiguous, whatever lies between rows; else a copy.
inline Tensor with_contiguous_rows(const Tensor& values) {
  return values.size(1) <= 1 || values.stride(1) == 1 ? values : torch::stable::contiguous(values);
}
}  // namespace geoguide3d
