#include "../gram_mse.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../gemm.h"
#include "../gram_blocks.h"
#include "sums.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;
using torch::stable::new_zeros;

constexpr int64_t kTileRows = 2048;      // of D
constexpr int64_t kBlockColumns = 1024;  // of T
constexpr int64_t kChunkRows = 8192;     // whose share of T is added up in float64

// One warp per row: row n of one side, divided by its length, into a row of x (rows, W).
template <typename T, typename A>
__global__ void load_side(const T* values, A* x, A* inverse, bool normalize, int64_t rows, Extent of_x) {
  const int64_t n = row_of_warp(), C = of_x.rows, W = of_x.columns;
  if (n >= rows) return;  // the whole warp leaves: it has one n
  const T* row = values + n * C;
  const A factor = normalize ? warp_inverse_length<A>(row, C) : A{1};
  for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) x[n * W + c] = static_cast<A>(row[c]) * factor;
  if (threadIdx.x % kWarp == 0) inverse[2 * n] = factor;
}

// One warp per row: turns derivatives d by a loaded row into those by the row of the input.
template <typename A>
__global__ void finish_gradient(A* d, const A* x, const A* inverse, bool normalize, A factor, int64_t rows, int64_t C,
                                int64_t W) {
  const int64_t n = row_of_warp();
  if (n >= rows) return;
  A along = 0;
  if (normalize && !is_clamped(inverse[2 * n])) {
    for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) along += d[n * C + c] * x[n * W + c];
    along = warp_sum(along);
  }
  const A scale = inverse[2 * n] * factor;
  for (int64_t c = threadIdx.x % kWarp; c < C; c += kWarp) d[n * C + c] = (d[n * C + c] - along * x[n * W + c]) * scale;
}

// difference = geometric - difference; each block leaves `times` the sum of its squares. kSumBlocks blocks.
template <typename A>
__global__ void subtract_from(const A* geometric, A* difference, double* sums, double times, int64_t count) {
  double sum = 0;
  for (int64_t k = thread_number(); k < count; k += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const A value = geometric[k] - difference[k];
    difference[k] = value;
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = times * sum;
}

// Adds a block of X^T X to T (W, W).
template <typename A>
__global__ void add_block(double* T, const A* product, ColumnBlock block, int64_t W) {
  const int64_t k = thread_number(), columns = block.extent.columns;
  if (k >= block.extent.rows * columns) return;
  T[(block.row + k / columns) * W + block.column + k % columns] += static_cast<double>(product[k]);
}

__device__ double sign_of(int64_t column, int64_t G) {
  return column < G ? 1 : -1;
}

// Each block leaves its share of sum(D^2), from the upper triangle of T. kSumBlocks blocks.
__global__ void sum_signed_squares(const double* T, double* sums, int64_t G, int64_t W) {
  double sum = 0;
  for (int64_t k = thread_number(); k < W * W; k += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t i = k / W, j = k % W;
    if (i <= j) sum += (i == j ? 1 : 2) * sign_of(i, G) * sign_of(j, G) * T[k] * T[k];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// out (W, C) = columns `start` and on of T, rows of the semantic side negated: X times this is D times the side.
template <typename A>
__global__ void write_signed_columns(const double* T, A* out, int64_t start, int64_t C, int64_t G, int64_t W) {
  const int64_t k = thread_number();
  if (k >= W * C) return;
  const int64_t i = k / C, j = start + k % C;
  out[k] = static_cast<A>(sign_of(i, G) * T[i <= j ? i * W + j : j * W + i]);
}

// Both forms. x and inverse hold as many rows as are worked on at once.
template <typename A>
struct GramPass {
  const std::array<Tensor, 2> sides;  // contiguous
  const bool normalize;
  const std::array<A*, 2> gradients;  // hold zeros; null where not wanted
  const int64_t N = sides[0].size(0), columns[2] = {sides[0].size(1), sides[1].size(1)};
  const int64_t W = columns[0] + columns[1];
  const torch::stable::Device device = sides[0].device();
  const cudaStream_t stream = current_stream(sides[0]);

  int64_t start(int s) const { return s == 0 ? 0 : columns[0]; }
  Tensor empty(int64_t rows, int64_t width) const { return new_empty(sides[0], {rows, width}, kDtype<A>); }

  void load(int64_t first, int64_t rows, A* x, A* inverse) const {
    for (int s = 0; s < 2; ++s)
      with_floating_dtype(sides[s].scalar_type(), "gram_mse", [&](auto zero) {
        using T = decltype(zero);
        const T* values = sides[s].template const_data_ptr<T>() + first * columns[s];
        load_side<<<blocks_for(rows * kWarp), kThreads, 0, stream>>>(values, x + start(s), inverse + s, normalize, rows,
                                                                     Extent{columns[s], W});
        STD_CUDA_KERNEL_LAUNCH_CHECK();
      });
  }

  void finish(int s, int64_t first, int64_t rows, const A* x, const A* inverse) const {
    const double pairs = static_cast<double>(N) * static_cast<double>(N);
    const A factor = static_cast<A>((s == 0 ? 4 : -4) / pairs);
    finish_gradient<<<blocks_for(rows * kWarp), kThreads, 0, stream>>>(
        gradients[s] + first * columns[s], x + start(s), inverse + s, normalize, factor, rows, columns[s], W);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Adds the tile `difference` of D times `rows` of a side from x on to its gradients from row `to` on.
  void add_product(const Tensor& difference, int s, int64_t to, const A* x, int64_t rows) const {
    const int64_t C = columns[s], count = difference.size(0) * C;
    if (!gradients[s] || count == 0) return;
    const Tensor product = empty(difference.size(0), C);
    mm_out(difference, block(x + start(s), {rows, C}, W, device), product);
    add_elements<<<blocks_for(count), kThreads, 0, stream>>>(gradients[s] + to * C,
                                                             static_cast<const A*>(product.const_data_ptr<A>()), count);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Partial sums of D^2.
  Tensor run_tiled() const {
    const Tensor units = empty(N, W), factors = empty(N, 2);
    A *x = units.mutable_data_ptr<A>(), *inverse = factors.mutable_data_ptr<A>();
    load(0, N, x, inverse);
    const int64_t tiles = divide_up(N, kTileRows);
    const Tensor partial = new_empty(sides[0], {tiles * (tiles + 1) / 2 * kSumBlocks}, ScalarType::Double);
    double* sums = partial.mutable_data_ptr<double>();
    const Tensor buffers = empty(2, std::min(N, kTileRows) * std::min(N, kTileRows));
    A *geometric = buffers.mutable_data_ptr<A>(), *difference = geometric + buffers.size(1);
    for (int64_t i = 0; i < N; i += kTileRows)
      for (int64_t j = i; j < N; j += kTileRows, sums += kSumBlocks) {
        const Extent tile{std::min(kTileRows, N - i), std::min(kTileRows, N - j)};
        for (int s = 0; s < 2; ++s)
          mm_out(block(x + i * W + start(s), {tile.rows, columns[s]}, W, device),
                 block_transposed(x + j * W + start(s), {tile.columns, columns[s]}, W, device),
                 block(s == 0 ? geometric : difference, tile, tile.columns, device));
        subtract_from<<<kSumBlocks, kThreads, 0, stream>>>(static_cast<const A*>(geometric), difference, sums,
                                                           i == j ? 1.0 : 2.0, tile.rows * tile.columns);
        STD_CUDA_KERNEL_LAUNCH_CHECK();
        for (int s = 0; s < 2; ++s) {
          add_product(block(difference, tile, tile.columns, device), s, i, x + j * W, tile.columns);
          if (i != j) add_product(block_transposed(difference, tile, tile.columns, device), s, j, x + i * W, tile.rows);
        }
      }
    for (int s = 0; s < 2; ++s)
      if (gradients[s] && columns[s] > 0) finish(s, 0, N, x, inverse);
    return partial;
  }

  void add_chunk(double* T, const A* x, int64_t rows) const {
    const UpperBlocks upper(W, kBlockColumns);
    for (const ColumnBlock& part : upper.blocks()) {
      const int64_t count = part.extent.rows * part.extent.columns;
      const Tensor product = empty(part.extent.rows, part.extent.columns);
      mm_out(block_transposed(x + part.row, {rows, part.extent.rows}, W, device),
             block(x + part.column, {rows, part.extent.columns}, W, device), product);
      add_block<<<blocks_for(count), kThreads, 0, stream>>>(T, static_cast<const A*>(product.const_data_ptr<A>()), part,
                                                            W);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
  }

  Tensor signed_columns(const double* T, int s) const {
    const Tensor out = empty(W, columns[s]);
    write_signed_columns<<<blocks_for(W * columns[s]), kThreads, 0, stream>>>(T, out.mutable_data_ptr<A>(), start(s),
                                                                              columns[s], columns[0], W);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    return out;
  }

  Tensor run_factored() const {
    const Tensor squares = new_zeros(sides[0], {W, W}, ScalarType::Double);
    const Tensor partial = new_empty(sides[0], {kSumBlocks}, ScalarType::Double);
    const Tensor units = empty(std::min(N, kChunkRows), W), factors = empty(std::min(N, kChunkRows), 2);
    A *x = units.mutable_data_ptr<A>(), *inverse = factors.mutable_data_ptr<A>();
    double* T = squares.mutable_data_ptr<double>();
    for (int64_t first = 0; first < N; first += kChunkRows) {
      load(first, std::min(kChunkRows, N - first), x, inverse);
      add_chunk(T, x, std::min(kChunkRows, N - first));
    }
    sum_signed_squares<<<kSumBlocks, kThreads, 0, stream>>>(T, partial.mutable_data_ptr<double>(), columns[0], W);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    for (int s = 0; s < 2; ++s) {
      if (!gradients[s] || columns[s] == 0) continue;
      const Tensor signed_T = signed_columns(T, s);
      for (int64_t first = 0; first < N; first += kChunkRows) {
        const int64_t rows = std::min(kChunkRows, N - first), C = columns[s];
        if (N > kChunkRows) load(first, rows, x, inverse);
        mm_out(block(x, {rows, W}, W, device), signed_T, block(gradients[s] + first * C, {rows, C}, C, device));
        finish(s, first, rows, x, inverse);
      }
    }
    return partial;
  }
};

std::tuple<Tensor, Tensor, Tensor> gram_mse(const Tensor& geometric, const Tensor& semantic, bool normalize,
                                            int64_t form, int64_t wanted) {
  check_gram_inputs(geometric, semantic, form);
  const torch::stable::accelerator::DeviceGuard on_device(geometric.get_device_index());
  const int64_t N = geometric.size(0), W = geometric.size(1) + semantic.size(1);
  const ScalarType dtype = gram_dtype(geometric, semantic);
  const Tensor value = new_zeros(geometric, {}, dtype);
  const std::array<Tensor, 2> gradients{
      new_zeros(geometric, {wanted & kGradGeometric ? N : 0, geometric.size(1)}, dtype),
      new_zeros(geometric, {wanted & kGradSemantic ? N : 0, semantic.size(1)}, dtype)};
  if (N == 0 || W == 0) return {value, gradients[0], gradients[1]};
  with_accumulator_dtype(dtype, "gram_mse", [&](auto zero) {
    using A = decltype(zero);
    const GramPass<A> pass{{torch::stable::contiguous(geometric), torch::stable::contiguous(semantic)},
                           normalize,
                           {wanted & kGradGeometric ? gradients[0].mutable_data_ptr<A>() : nullptr,
                            wanted & kGradSemantic ? gradients[1].mutable_data_ptr<A>() : nullptr}};
    const Tensor partial = takes_tiles(form, N, W) ? pass.run_tiled() : pass.run_factored();
    const double pairs = static_cast<double>(N) * static_cast<double>(N);
    write_mean<<<1, kThreads, 0, pass.stream>>>(static_cast<const double*>(partial.const_data_ptr<double>()),
                                                partial.size(0), pairs, value.mutable_data_ptr<A>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {value, gradients[0], gradients[1]};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("gram_mse", TORCH_BOX(&geoguide3d::cuda::gram_mse));
}
