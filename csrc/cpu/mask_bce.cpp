#include "../mask_bce.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <atomic>
#include <tuple>
#include <vector>

#include "../blocks.h"
#include "../gemm.h"
#include "check_value.h"
#include "convert.h"
#include "items.h"
#include "row_math.h"
#include "softplus.h"

namespace geoguide3d::cpu {
namespace {

constexpr int64_t kTileLogits = 1 << 17;  // M times the points of a tile, about: a thread's second-level cache
constexpr int64_t kMostTilePoints = 1024;
constexpr int64_t kFewestTilePoints = 64;
constexpr int64_t kMostParts = 64;          // each adds up gradients of all queries,
constexpr int64_t kPartElements = 1 << 24;  // and all of them together hold about so many elements

// Where a mask holds a point of a tile: element m * points of the tile + n of the tile's logits.
struct Members {
  std::vector<int64_t> offsets;  // of tiles in `elements`
  std::vector<int64_t> elements;
};

struct Tiling {
  int64_t M, N, size;
  Tiling(int64_t masks, int64_t points)
      : M(masks), N(points), size(std::clamp(kTileLogits / masks, kFewestTilePoints, kMostTilePoints)) {}
  int64_t count() const { return (N + size - 1) / size; }
  int64_t points(int64_t tile) const { return std::min(size, N - tile * size); }
};

// Counting sort of the masks' points by tile. Throws where masks are not as the contract says, except for duplicates.
Members sort_members(const int64_t* offsets, const int64_t* point_ids, int64_t E, const Tiling& tiling) {
  check_value(offsets[0] == 0 && offsets[tiling.M] == E, "offsets must go from 0 to ", E, ", got ", offsets[0], " to ",
              offsets[tiling.M]);
  for (int64_t m = 0; m < tiling.M; ++m)
    check_value(offsets[m] <= offsets[m + 1], "offsets must not descend, got ", offsets[m], " before ", offsets[m + 1]);
  Members members{std::vector<int64_t>(tiling.count() + 1), std::vector<int64_t>(E)};
  std::vector<int64_t> next(tiling.count() + 1);
  for (int64_t e = 0; e < E; ++e) {
    check_value(0 <= point_ids[e] && point_ids[e] < tiling.N, "point_ids[", e, "] = ", point_ids[e], " is outside [0, ",
                tiling.N, ")");
    ++next[point_ids[e] / tiling.size + 1];
  }
  for (int64_t tile = 0; tile < tiling.count(); ++tile) next[tile + 1] += next[tile];
  members.offsets = next;
  for (int64_t m = 0; m < tiling.M; ++m)
    for (int64_t e = offsets[m]; e < offsets[m + 1]; ++e) {
      const int64_t tile = point_ids[e] / tiling.size;
      members.elements[next[tile]++] = m * tiling.points(tile) + point_ids[e] - tile * tiling.size;
    }
  return members;
}

// Throws with the first mask that holds a point twice.
void reject_repeats(const int64_t* offsets, const int64_t* point_ids, int64_t M) {
  for (int64_t m = 0; m < M; ++m) {
    std::vector<int64_t> ids(point_ids + offsets[m], point_ids + offsets[m + 1]);
    std::sort(ids.begin(), ids.end());
    const auto twice = std::adjacent_find(ids.begin(), ids.end());
    if (twice != ids.end()) check_value(false, "mask ", m, " holds point ", *twice, " twice");
  }
}

// One mask and the points of a tile: logits become derivatives of the value by products of query and input row,
// `along` grows by the derivatives times the logits. Returns the row's share of the value.
template <typename A>
double take_row(A* __restrict x, const uint8_t* __restrict inside, const A* __restrict inverse, A* __restrict along,
                MaskWeights weights, int64_t count) {
  constexpr int64_t kLanes = 16;
  const A outer = static_cast<A>(weights.outside), inner = static_cast<A>(weights.inside);
  const auto take = [&](int64_t n) {
    const A logit = x[n] * inverse[n], y = static_cast<A>(inside[n]);
    const A sign = 1 - 2 * y, weight = outer + y * (inner - outer);
    const Softplus<A> loss = softplus(sign * logit);
    const A slope = sign * weight * loss.slope;
    along[n] += slope * logit;
    x[n] = slope * inverse[n];
    return weight * loss.value;
  };
  A lanes[kLanes] = {};
  double sum = 0;
  int64_t n = 0;
  for (; n + kLanes <= count; n += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += take(n + lane);
  for (; n < count; ++n) sum += static_cast<double>(take(n));
  for (const A lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

template <typename T>
struct MaskPass {
  using A = accumulator_t<T>;
  using Buffers = Scratch<A, 5>;
  const Tiling tiling;
  const int64_t C;
  const torch::stable::Device device;
  const A* queries;
  const T* points;
  const Members& members;
  const std::vector<MaskWeights>& weights;  // over M N
  A* grad_points;                           // (N, C), may be null
  A* grad_queries;                          // (parts, M, C) zeros, may be null
  std::atomic<bool>& repeats;               // becomes true where a mask holds a point twice

  int64_t parts() const {
    const int64_t most = std::clamp<int64_t>(kPartElements / std::max<int64_t>(1, tiling.M * C), 4, kMostParts);
    return std::min(most, tiling.count());
  }

  // The rows of a tile in A: where T is A, those of the input.
  const A* rows_of(int64_t tile, Buffers& buffers) const {
    const T* rows = points + tile * tiling.size * C;
    if constexpr (std::is_same_v<T, A>) return rows;
    A* out = buffers(0, tiling.points(tile) * C);
    convert(rows, out, tiling.points(tile) * C);
    return out;
  }

  double take_logits(int64_t tile, A* x, const A* inverse, A* along, std::vector<uint8_t>& inside) const {
    const int64_t count = tiling.points(tile);
    inside.assign(tiling.M * count, 0);
    for (int64_t e = members.offsets[tile]; e < members.offsets[tile + 1]; ++e) {
      const int64_t element = members.elements[e];
      if (inside[element]) repeats = true;
      inside[element] = 1;
    }
    std::fill_n(along, count, A{0});
    double sum = 0;
    for (int64_t m = 0; m < tiling.M; ++m)
      sum += take_row(x + m * count, inside.data() + m * count, inverse, along, weights[m], count);
    return sum;
  }

  void write_grad_points(int64_t tile, const A* slopes, const A* rows, const A* inverse, const A* along) const {
    const int64_t count = tiling.points(tile), M = tiling.M;
    A* out = grad_points + tile * tiling.size * C;
    mm_out(block_transposed(slopes, {M, count}, count, device), block(queries, {M, C}, C, device),
           block(out, {count, C}, C, device));
    for (int64_t n = 0; n < count; ++n) {
      if (is_clamped(inverse[n])) continue;
      const A factor = along[n] * inverse[n] * inverse[n];
      A* __restrict d = out + n * C;
      const A* __restrict row = rows + n * C;
      for (int64_t c = 0; c < C; ++c) d[c] -= factor * row[c];
    }
  }

  void add_grad_queries(int64_t tile, const A* slopes, const A* rows, A* sums, Buffers& buffers) const {
    const int64_t count = tiling.points(tile), M = tiling.M;
    A* __restrict product = buffers(4, M * C);
    mm_out(block(slopes, {M, count}, count, device), block(rows, {count, C}, C, device),
           block(product, {M, C}, C, device));
    for (int64_t k = 0; k < M * C; ++k) sums[k] += product[k];
  }

  double take_tile(int64_t tile, A* query_sums, Buffers& buffers, std::vector<uint8_t>& inside) const {
    const int64_t count = tiling.points(tile), M = tiling.M;
    const A* rows = rows_of(tile, buffers);
    A *x = buffers(1, M * count), *inverse = buffers(2, count), *along = buffers(3, count);
    for (int64_t n = 0; n < count; ++n) inverse[n] = inverse_length(rows + n * C, C);
    mm_out(block(queries, {M, C}, C, device), block_transposed(rows, {count, C}, C, device),
           block(x, {M, count}, count, device));
    const double sum = take_logits(tile, x, inverse, along, inside);
    if (grad_points && C > 0) write_grad_points(tile, x, rows, inverse, along);
    if (query_sums && C > 0) add_grad_queries(tile, x, rows, query_sums, buffers);
    return sum;
  }

  // Returns the value. Parts are runs of tiles; the gradients of queries of the first one become the sum of all.
  double run() const {
    std::vector<double> sums(parts());
    const int64_t size = tiling.M * C;
    for_each_item<A, 5>(parts(), [&](int64_t part, Buffers& buffers) {
      std::vector<uint8_t> inside;
      A* query_sums = grad_queries ? grad_queries + part * size : nullptr;
      for (int64_t tile = tiling.count() * part / parts(); tile < tiling.count() * (part + 1) / parts(); ++tile)
        sums[part] += take_tile(tile, query_sums, buffers, inside);
    });
    for (int64_t part = 1; grad_queries && part < parts(); ++part)
      for (int64_t k = 0; k < size; ++k) grad_queries[k] += grad_queries[part * size + k];
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
  }
};

std::tuple<Tensor, Tensor, Tensor> mask_bce(const Tensor& queries, const Tensor& points, const Tensor& offsets,
                                            const Tensor& point_ids, bool balanced, int64_t wanted) {
  check_mask_inputs(queries, points, offsets, point_ids);
  using torch::stable::contiguous;
  using torch::stable::new_zeros;
  const Tensor q = contiguous(queries), p = contiguous(points), o = contiguous(offsets), i = contiguous(point_ids);
  const int64_t M = q.size(0), N = p.size(0), C = q.size(1);
  const Tensor value = new_zeros(q, {});
  if (M == 0 || N == 0) {
    check_value(i.size(0) == 0, "point_ids hold ", i.size(0), " points of ", M, " masks and ", N, " points");
    return {value, new_zeros(q, {wanted & kGradQueries ? M : 0, C}), new_zeros(q, {wanted & kGradPoints ? N : 0, C})};
  }
  const Tensor grad_points = torch::stable::new_empty(q, {wanted & kGradPoints ? N : 0, C});
  const Tiling tiling(M, N);
  const int64_t* bounds = o.const_data_ptr<int64_t>();
  const Members members = sort_members(bounds, i.const_data_ptr<int64_t>(), i.size(0), tiling);
  const double pairs = static_cast<double>(M) * static_cast<double>(N);
  std::vector<MaskWeights> weights(M);
  for (int64_t m = 0; m < M; ++m) {
    const MaskWeights weight = mask_weights(bounds[m + 1] - bounds[m], N, balanced);
    weights[m] = {weight.inside / pairs, weight.outside / pairs};
  }
  Tensor grad_queries = new_zeros(q, {0, C});
  std::atomic<bool> repeats{false};
  with_floating_dtype(p.scalar_type(), "mask_bce", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    MaskPass<T> pass{tiling,
                     C,
                     q.device(),
                     q.const_data_ptr<A>(),
                     p.const_data_ptr<T>(),
                     members,
                     weights,
                     wanted & kGradPoints ? grad_points.mutable_data_ptr<A>() : nullptr,
                     nullptr,
                     repeats};
    Tensor parts = new_zeros(q, {wanted & kGradQueries ? pass.parts() * M : 0, C});
    if (wanted & kGradQueries) pass.grad_queries = parts.mutable_data_ptr<A>();
    *value.mutable_data_ptr<A>() = static_cast<A>(pass.run());
    if (repeats) reject_repeats(bounds, i.const_data_ptr<int64_t>(), M);
    if (wanted & kGradQueries) grad_queries = torch::stable::clone(torch::stable::narrow(parts, 0, 0, M));
  });
  return {value, grad_queries, grad_points};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("mask_bce", TORCH_BOX(&geoguide3d::cpu::mask_bce));
}
