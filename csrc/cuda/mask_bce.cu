#include "../mask_bce.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../blocks.h"
#include "../gemm.h"
#include "sums.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;
using torch::stable::new_zeros;

constexpr int64_t kTileLogits = 1 << 22;  // M times the points of a tile, about
constexpr int64_t kMostTilePoints = 1 << 16;
constexpr int64_t kFewestTilePoints = 256;
constexpr int kPointsOfBlock = 32;  // of a block of take_logits, one warp per so many masks
constexpr unsigned kMarkBlocks = 1024;

// Which masks hold which points: CSR, and its entries sorted by point, of one point in the order of the masks.
struct Masks {
  const int64_t *offsets, *sorted_ids, *entries;
  int64_t M, N, E;
};

// The first k in [0, count) whose value is not below `least`, else count.
__device__ int64_t lower_bound(const int64_t* values, int64_t count, int64_t least) {
  int64_t begin = 0, end = count;
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (values[middle] < least)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

// weights (M, 2) over M N, inside and outside. M >= 1.
template <typename A>
__global__ void write_weights(Masks masks, A* weights, bool balanced) {
  const int64_t m = thread_number();
  if (m >= masks.M) return;
  const int64_t held = masks.offsets[m + 1] - masks.offsets[m];
  assert(held >= 0 && masks.offsets[0] == 0 && masks.offsets[masks.M] == masks.E &&
         "offsets do not ascend from 0 to E");
  assert((masks.E == 0 || (0 <= masks.sorted_ids[0] && masks.sorted_ids[masks.E - 1] < masks.N)) &&
         "point id out of range");
  const double pairs = static_cast<double>(masks.M) * static_cast<double>(masks.N);
  const MaskWeights weight = mask_weights(held, masks.N, balanced);
  weights[2 * m] = static_cast<A>(weight.inside / pairs);
  weights[2 * m + 1] = static_cast<A>(weight.outside / pairs);
}

// inside (M, points), which holds zeros, becomes 1 where a mask holds one of the points first ... first + points - 1.
__global__ void mark_members(Masks masks, uint8_t* inside, int64_t first, int64_t points) {
  const int64_t begin = lower_bound(masks.sorted_ids, masks.E, first);
  const int64_t end = lower_bound(masks.sorted_ids, masks.E, first + points);
  for (int64_t k = begin + thread_number(); k < end; k += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t n = masks.sorted_ids[k], entry = masks.entries[k];
    const int64_t m = lower_bound(masks.offsets, masks.M + 1, entry + 1) - 1;
    assert(0 <= m && m < masks.M && "offsets do not ascend from 0 to E");
    assert((k == 0 || masks.sorted_ids[k - 1] != n || masks.entries[k - 1] < masks.offsets[m]) &&
           "a mask holds a point twice");
    inside[m * points + n - first] = 1;
  }
}

// One warp per point: 1 / max(length, kShortestRow), and where `rows` is not null the row as A.
template <typename T, typename A>
__global__ void measure_rows(const T* points, A* rows, A* inverse, int64_t count, int64_t C) {
  const int64_t n = row_of_warp();
  if (n >= count) return;  // the whole warp leaves: it has one n
  const A factor = warp_inverse_length<A>(points + n * C, C);
  if (threadIdx.x % kWarp == 0) inverse[n] = factor;
  if (rows)
    for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) rows[n * C + c] = static_cast<A>(points[n * C + c]);
}

template <typename A>
__device__ A softplus_and_slope(A u, A* slope) {
  const A e = exp(-abs(u)), one = 1;
  *slope = (u < 0 ? e : one) / (one + e);
  return (u < 0 ? A{0} : u) + log1p(e);
}

// Blocks of kPointsOfBlock points by kWarpsPerBlock masks at a time. Logits x (M, points) become derivatives of the
// value by products of query and input row; along[n] is the sum of derivatives times logits; each block leaves its
// share of the value.
template <typename A>
__global__ void take_logits(A* x, const uint8_t* inside, const A* inverse, const A* weights, A* along, double* sums,
                            int64_t M, int64_t points) {
  __shared__ A along_of_warp[kWarpsPerBlock][kPointsOfBlock];
  const int lane = threadIdx.x % kPointsOfBlock, warp = threadIdx.x / kPointsOfBlock;
  const int64_t n = blockIdx.x * static_cast<int64_t>(kPointsOfBlock) + lane;
  double sum = 0;
  A along_here = 0;
  for (int64_t m = warp; n < points && m < M; m += kWarpsPerBlock) {
    const int64_t k = m * points + n;
    const bool held = inside[k];
    const A logit = x[k] * inverse[n], weight = weights[2 * m + (held ? 0 : 1)];
    A slope;
    sum += static_cast<double>(weight * softplus_and_slope(held ? -logit : logit, &slope));
    slope *= held ? -weight : weight;
    along_here += slope * logit;
    x[k] = slope * inverse[n];
  }
  along_of_warp[warp][lane] = along_here;
  sum = block_sum(sum);  // waits for the block
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
  if (warp != 0 || n >= points) return;
  for (int other = 1; other < kWarpsPerBlock; ++other) along_here += along_of_warp[other][lane];
  along[n] = along_here;
}

// Derivatives d (points, C) by divided rows, already over the length, lose what only scales the row.
template <typename A>
__global__ void finish_points(A* d, const A* rows, const A* inverse, const A* along, int64_t points, int64_t C) {
  const int64_t k = thread_number();
  if (k >= points * C) return;
  const int64_t n = k / C;
  if (!is_clamped(inverse[n])) d[k] -= along[n] * inverse[n] * inverse[n] * rows[k];
}

// Buffers of one tile.
template <typename A>
struct TileBuffers {
  A *x, *inverse, *along, *rows, *product;
  uint8_t* inside;
};

template <typename T>
struct MaskPass {
  using A = accumulator_t<T>;
  const Masks masks;
  const int64_t C;
  const Tensor queries;
  const T* points;
  const A* weights;
  A *grad_queries, *grad_points;  // null where not wanted; those of queries hold zeros
  const int64_t M = masks.M, N = masks.N;
  const int64_t size = std::clamp(kTileLogits / M, kFewestTilePoints, kMostTilePoints);
  const torch::stable::Device device = queries.device();
  const cudaStream_t stream = current_stream(queries);

  static int64_t blocks_of(int64_t count) { return (count + kPointsOfBlock - 1) / kPointsOfBlock; }

  // `sums` has blocks_of(count) elements.
  void take_tile(int64_t first, int64_t count, const TileBuffers<A>& tile, double* sums) const {
    const A* rows = tile.rows;
    if constexpr (std::is_same_v<T, A>) rows = points + first * C;
    measure_rows<<<blocks_for(count * kWarp), kThreads, 0, stream>>>(points + first * C, tile.rows, tile.inverse, count,
                                                                     C);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    mm_out(queries, block_transposed(rows, {count, C}, C, device), block(tile.x, {M, count}, count, device));
    const cudaError_t cleared = cudaMemsetAsync(tile.inside, 0, M * count, stream);
    STD_TORCH_CHECK(cleared == cudaSuccess, cudaGetErrorString(cleared));
    mark_members<<<kMarkBlocks, kThreads, 0, stream>>>(masks, tile.inside, first, count);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    take_logits<<<static_cast<unsigned>(blocks_of(count)), kThreads, 0, stream>>>(
        tile.x, static_cast<const uint8_t*>(tile.inside), static_cast<const A*>(tile.inverse), weights, tile.along,
        sums, M, count);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    if (C > 0) write_gradients(first, count, rows, tile);
  }

  void write_gradients(int64_t first, int64_t count, const A* rows, const TileBuffers<A>& tile) const {
    if (grad_points) {
      A* d = grad_points + first * C;
      mm_out(block_transposed(tile.x, {M, count}, count, device), queries, block(d, {count, C}, C, device));
      finish_points<<<blocks_for(count * C), kThreads, 0, stream>>>(d, rows, static_cast<const A*>(tile.inverse),
                                                                    static_cast<const A*>(tile.along), count, C);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
    if (grad_queries) {
      mm_out(block(tile.x, {M, count}, count, device), block(rows, {count, C}, C, device),
             block(tile.product, {M, C}, C, device));
      add_elements<<<blocks_for(M * C), kThreads, 0, stream>>>(grad_queries, static_cast<const A*>(tile.product),
                                                               M * C);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
  }

  void run(A* value) const {
    const int64_t points_of_tile = std::min(size, N), full = N / points_of_tile, rest = N % points_of_tile;
    const int64_t converted = std::is_same_v<T, A> ? 0 : points_of_tile * C;
    const auto empty = [&](int64_t count) { return new_empty(queries, {count}); };
    const Tensor x = empty(M * points_of_tile), inverse = empty(points_of_tile), along = empty(points_of_tile),
                 rows = empty(converted), product = empty(grad_queries ? M * C : 0),
                 inside = new_empty(queries, {M * points_of_tile}, ScalarType::Byte);
    const TileBuffers<A> tile{x.mutable_data_ptr<A>(),       inverse.mutable_data_ptr<A>(),
                              along.mutable_data_ptr<A>(),   converted ? rows.mutable_data_ptr<A>() : nullptr,
                              product.mutable_data_ptr<A>(), inside.mutable_data_ptr<uint8_t>()};
    const int64_t parts = full * blocks_of(points_of_tile) + blocks_of(rest);
    const Tensor partial = new_empty(queries, {parts}, ScalarType::Double);
    double* sums = partial.mutable_data_ptr<double>();
    for (int64_t first = 0; first < N; first += points_of_tile, sums += blocks_of(points_of_tile))
      take_tile(first, std::min(points_of_tile, N - first), tile, sums);
    write_mean<<<1, kThreads, 0, stream>>>(static_cast<const double*>(partial.const_data_ptr<double>()), parts, 1.0,
                                           value);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

std::tuple<Tensor, Tensor, Tensor> mask_bce(const Tensor& queries, const Tensor& points, const Tensor& offsets,
                                            const Tensor& point_ids, bool balanced, int64_t wanted) {
  check_mask_inputs(queries, points, offsets, point_ids);
  using torch::stable::contiguous;
  const torch::stable::accelerator::DeviceGuard on_device(points.get_device_index());
  const Tensor q = contiguous(queries), p = contiguous(points), o = contiguous(offsets);
  const int64_t M = q.size(0), N = p.size(0), C = q.size(1), E = point_ids.size(0);
  const Tensor value = new_zeros(q, {});
  const Tensor grad_queries = new_zeros(q, {wanted & kGradQueries ? M : 0, C});
  if (M == 0 || N == 0) {
    STD_TORCH_CHECK(E == 0, "point_ids hold ", E, " points of ", M, " masks and ", N, " points");
    return {value, grad_queries, new_zeros(q, {wanted & kGradPoints ? N : 0, C})};
  }
  const Tensor grad_points = new_empty(q, {wanted & kGradPoints ? N : 0, C});
  const auto [sorted_ids, entries] = stable_sort(contiguous(point_ids));
  const Masks masks{
      o.const_data_ptr<int64_t>(), sorted_ids.const_data_ptr<int64_t>(), entries.const_data_ptr<int64_t>(), M, N, E};
  with_floating_dtype(p.scalar_type(), "mask_bce", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    const Tensor weights = new_empty(q, {M, 2});
    write_weights<<<blocks_for(M), kThreads, 0, current_stream(q)>>>(masks, weights.mutable_data_ptr<A>(), balanced);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    const MaskPass<T> pass{masks,
                           C,
                           q,
                           p.const_data_ptr<T>(),
                           weights.const_data_ptr<A>(),
                           wanted & kGradQueries ? grad_queries.mutable_data_ptr<A>() : nullptr,
                           wanted & kGradPoints ? grad_points.mutable_data_ptr<A>() : nullptr};
    pass.run(value.mutable_data_ptr<A>());
  });
  return {value, grad_queries, grad_points};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("mask_bce", TORCH_BOX(&geoguide3d::cuda::mask_bce));
}
