// Which element types the kernels know, and the type each of them adds up in.
#pragma once
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

namespace geoguide3d {
using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;

// float for Half, BFloat16 and float; double for double.
template <typename T>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <typename T>
using accumulator_t = typename Accumulator<T>::type;

inline ScalarType accumulator_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Both call a generic lambda with a zero of the tensor's C++ type. Plain functions, because the dispatch macros of
// torch break on the commas of <<<blocks, threads>>>.
template <typename Body>
void with_accumulator_dtype(ScalarType dtype, const char* op, Body body) {
  if (dtype == ScalarType::Float) return body(float{});
  if (dtype == ScalarType::Double) return body(double{});
  STD_TORCH_CHECK(false, op, ": expected float32 or float64, got ", torch::headeronly::toString(dtype));
}

template <typename Body>
void with_floating_dtype(ScalarType dtype, const char* op, Body body) {
  if (dtype == ScalarType::Half) return body(Half{});
  if (dtype == ScalarType::BFloat16) return body(BFloat16{});
  with_accumulator_dtype(dtype, op, body);
}
}  // namespace geoguide3d
