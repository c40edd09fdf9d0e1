// Contract of the cosine ops, shared by csrc/cpu, csrc/cuda and the references in geoguide3d/ops/cosine_query.py.
//
//   N rows of C channels are compared with K directions.
//
//     features    (N, C)  float32 | float64 | float16 | bfloat16 | int8, any strides
//     directions  (K, C)  A; unit vectors where scores are to be cosines
//   where A, the type of all sums, is float64 for float64 features and float32 for the others.
//
//   cosine_scores(features, directions) -> (scores (N, K) A, inverse (N,) A)
//     inverse[n] = 1 / max(|features[n]|, 1e-12); NaN where the squared length is not finite in A.
//     scores[n, k] = inverse[n] * <features[n], directions[k]>. So rows of zeros score 0, and rows with NaN or
//     infinity, or longer than the root of A's largest number, score NaN: never a wrong number.
//   cosine_top1(features, directions, P) -> (labels (N,) int64, best (N,) A, rival (N,) A)
//     Of the scores of cosine_scores, without an (N, K) array: best[n] is the greatest of the first P, labels[n] the
//     lowest k that has it. NaN is never the greatest; a row that scores nothing else gets label -1 and best NaN.
//     rival[n] is the greatest of the other K - P, NaN if one of them is NaN, -inf where P = K.
//
//   int8 rows may carry a positive scale each; it cancels, so the ops do not take it.
//   A score depends on its row and its direction alone, bit for bit: not on N, K, strides, the number of threads or the
//   place in a tile. Equal directions tie, so the lowest label wins.
//   N = 0 and C = 0 are valid, and K = 0 in cosine_scores; cosine_top1 needs P >= 1. All offsets are 64 bit, so N * C
//   and N * K may exceed 2^31.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

// Constants instead of calls, because device code may not call std::numeric_limits.
template <typename A>
constexpr A kLeastLength = static_cast<A>(1e-12);  // as torch.nn.functional.normalize
template <typename A>
constexpr A kMost = std::numeric_limits<A>::max();
template <typename A>
constexpr A kInfinity = std::numeric_limits<A>::infinity();
template <typename A>
constexpr A kNan = std::numeric_limits<A>::quiet_NaN();

inline void check_query(const Tensor& features, const Tensor& directions) {
  STD_TORCH_CHECK(features.dim() == 2, "features must be (N, C), got ", features.dim(), " dimensions");
  STD_TORCH_CHECK(directions.dim() == 2 && directions.size(1) == features.size(1), "directions must be (K, ",
                  features.size(1), ")");
  STD_TORCH_CHECK(directions.scalar_type() == accumulator_dtype(features.scalar_type()),
                  "directions must have the type of sums");
}

inline void check_positives(int64_t P, int64_t K) {
  STD_TORCH_CHECK(1 <= P && P <= K, "expected 1 <= P <= ", K, ", got ", P);
}

// Calls a generic lambda with a zero of the features' C++ type.
template <typename Body>
void with_feature_dtype(ScalarType dtype, const char* op, Body body) {
  if (dtype == ScalarType::Char) return body(int8_t{});
  with_floating_dtype(dtype, op, body);
}
}  // namespace geoguide3d
