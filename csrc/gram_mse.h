// Contract of gram_mse, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/gram_mse.py.
//
//     geometric  (N, G)  float32 | float64 | float16 | bfloat16, any strides
//     semantic   (N, C)  the same types, not necessarily the same one
//   A, the type of arithmetic and results, is float64 where an input is float64, else float32.
//
//   gram_mse(geometric, semantic, normalize, form, gradients) -> (value () A, grad_geometric A, grad_semantic A)
//     D = G G^T - S S^T, value = sum of D[i, j]^2 / N^2, with G and S the rows of the inputs, each divided by
//     max(length, 1e-8) where `normalize` is set (torch.nn.CosineSimilarity's clamp; a row of zeros stays zero).
//     grad_geometric (N, G) is the derivative of value by the input, through the normalisation, where bit 1 of
//     `gradients` is set, else (0, G); grad_semantic likewise with bit 2. N = 0: value 0. G = 0 and C = 0 are valid.
//
//   Neither form holds an N x N matrix. With W = G + C:
//     tiled     O(N^2 W): tiles of D, so that only products of rows are rounded.
//     factored  O(N W^2): sum(D^2) = sum of signs times squares of T = X^T X, X = [G, S]. The squares cancel where the
//               Grams agree; on the CPU, float32 that lost three digits so (value < 1e-3 of sum(T^2) / N^2) is computed
//               again in float64, value and gradients. A value that rounding made negative is 0.
//     automatic takes the cheaper one: their costs are as N to W.
//   Seen errors, relative to themselves, for a value that is the share v of sum(T^2) / N^2 (tests hold them to bounds):
//                            value                        gradient
//     float32, tiled         1e-6 + 1e-8 / sqrt(v)        1e-6 + 2e-7 / sqrt(v)
//     float32, factored      1e-5 + 3e-14 / v             2e-5
//     float64, factored      3e-14 / v                    1e-14 / sqrt(v)
//   Without that second pass, as on CUDA, factored float32 has 1e-7 / v and 3e-6 / sqrt(v).
//   T is added up in float64 from parts of fixed size, everything in one order: results are deterministic on both
//   devices and do not depend on the number of threads. No second derivative.
//
//   Source: GeoGuide (arXiv 2603.26260), inter-instance relation consistency; both identities are elementary.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "dtypes.h"
#include "row_length.h"

namespace geoguide3d {
using torch::stable::Tensor;

enum GramForm : int64_t { kAutomatic = 0, kTiled = 1, kFactored = 2 };
enum GramGradient : int64_t { kGradGeometric = 1, kGradSemantic = 2 };

inline ScalarType gram_dtype(const Tensor& geometric, const Tensor& semantic) {
  const bool wide = geometric.scalar_type() == ScalarType::Double || semantic.scalar_type() == ScalarType::Double;
  return wide ? ScalarType::Double : ScalarType::Float;
}

inline void check_gram_inputs(const Tensor& geometric, const Tensor& semantic, int64_t form) {
  STD_TORCH_CHECK(geometric.dim() == 2 && semantic.dim() == 2, "geometric and semantic must be (N, G) and (N, C)");
  STD_TORCH_CHECK(geometric.size(0) == semantic.size(0), "geometric has ", geometric.size(0), " rows, semantic ",
                  semantic.size(0));
  STD_TORCH_CHECK(form == kAutomatic || form == kTiled || form == kFactored, "form must be 0, 1 or 2, got ", form);
}

inline bool takes_tiles(int64_t form, int64_t N, int64_t W) {
  return form == kTiled || (form == kAutomatic && N <= W);
}
}  // namespace geoguide3d
