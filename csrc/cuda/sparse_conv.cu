#include "../sparse_conv.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "launch.cuh"
#include "packed_rows.cuh"
#include "warp_products.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr int kBlockRows = kWarpsPerBlock * kWarpRows;

// packed[t, c, d] = weight[d, t, c] for d < D, 0 up to the whole packs of `width`.
template <typename T>
struct Weight {
  const T* data;
  int64_t D, K, C, by_d, by_k, by_c, width;

  explicit Weight(const Tensor& weight)
      : data(weight.const_data_ptr<T>()),
        D(weight.size(0)),
        K(weight.size(1)),
        C(weight.size(2)),
        by_d(weight.stride(0)),
        by_k(weight.stride(1)),
        by_c(weight.stride(2)),
        width(ceil_divide(D, Pack<T>::kCount) * Pack<T>::kCount) {}
};

template <typename T>
__global__ void pack_weight(Weight<T> weight, T* packed) {
  const int64_t i = thread_number(), d = i % weight.width, c = i / weight.width % weight.C,
                t = i / weight.width / weight.C;
  if (t >= weight.K) return;
  packed[i] = d < weight.D ? weight.data[d * weight.by_d + t * weight.by_k + c * weight.by_c] : T(0.0f);
}

template <typename T>
struct Convolution {
  PackedRows<T> features;
  const T* weight;  // packed
  const T* bias;    // null: 0
  const int32_t* neighbours;
  T* out;
  int64_t D, K, P, width;
};

// Copies channels c, c + 1, ... of a tap's weights for kColumns outputs to shared memory; the whole block takes part.
template <int kColumns, typename T>
__device__ void stage_weight(const Convolution<T>& conv, int64_t t, int64_t c, int64_t d, T* to) {
  constexpr int kPacks = kColumns / Pack<T>::kCount;
  for (int i = threadIdx.x; i < kDepth<T> * kPacks; i += kThreads) {
    const int k = i / kPacks, column = i % kPacks * Pack<T>::kCount;
    Pack<T> pack = {};
    if (c + k < conv.features.channels && d + column < conv.width)
      pack = load_pack(conv.weight + (t * conv.features.channels + c + k) * conv.width + d + column);
    store_pack(to + k * kColumnPitch<T, kColumns> + column, pack);
  }
}

// Copies channels c, c + 1, ... of 16 rows, that of number r held by lane r, to the warp's own tile.
template <typename T>
__device__ void gather_rows(const PackedRows<T>& features, int32_t row, int64_t c, T* to) {
  constexpr int kPacks = kDepth<T> / Pack<T>::kCount;
#pragma unroll
  for (int i = 0; i < kWarpRows * kPacks / kWarp; ++i) {
    const int item = i * kWarp + threadIdx.x % kWarp, r = item / kPacks, column = item % kPacks * Pack<T>::kCount;
    const int32_t source = __shfl_sync(0xffffffffu, row, r);
    store_pack(to + r * kRowPitch<T> + column, features.load(source, c + column));
  }
}

// A block takes 128 outputs and kColumns of their channels, a warp 16 of those outputs, through all taps. Nothing is
// staged for a tap that no output of the block has; a warp whose outputs do not have it does not multiply.
template <typename T, int kColumns>
__global__ void __launch_bounds__(kThreads) convolve(Convolution<T> conv) {
  __shared__ __align__(128) T left[kBlockRows * kRowPitch<T>];
  __shared__ __align__(128) T right[kDepth<T> * kColumnPitch<T, kColumns>];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t first = blockIdx.x * static_cast<int64_t>(kBlockRows) + warp * kWarpRows;
  const int64_t column = blockIdx.y * static_cast<int64_t>(kColumns), C = conv.features.channels;
  T* own = left + warp * kWarpRows * kRowPitch<T>;
  WarpProducts<T, kColumns> sums;
  for (int64_t t = 0; t < conv.K; ++t) {
    const int64_t p = first + lane % kWarpRows;
    const int32_t row = p < conv.P ? conv.neighbours[t * conv.P + p] : -1;
    conv.features.check(row);
    const bool active = __any_sync(0xffffffffu, row >= 0);
    if (!__syncthreads_or(active)) continue;  // past this barrier nobody reads the tiles before
    for (int64_t c = 0; c < C; c += kDepth<T>) {
      if (c > 0) __syncthreads();
      stage_weight<kColumns>(conv, t, c, column, right);
      if (active) gather_rows(conv.features, row, c, own);
      __syncthreads();
      if (active) sums.add(own, right, static_cast<int>(min(C - c, static_cast<int64_t>(kDepth<T>))));
    }
  }
  sums.write(own, [&](int r, int d, accumulator_t<T> sum) {
    if (first + r >= conv.P || column + d >= conv.D) return;
    if (conv.bias) sum += static_cast<accumulator_t<T>>(conv.bias[column + d]);
    conv.out[(first + r) * conv.D + column + d] = static_cast<T>(sum);
  });
}

template <typename T, int kColumns>
void launch(const Convolution<T>& conv, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>(ceil_divide(conv.P, kBlockRows)),
                    static_cast<unsigned>(ceil_divide(conv.D, kColumns)));
  convolve<T, kColumns><<<blocks, kThreads, 0, stream>>>(conv);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor sparse_conv(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                   const Tensor& neighbours, const std::optional<Tensor>&) {
  check_weight(features, weight, bias, neighbours);
  const torch::stable::accelerator::DeviceGuard on_device(features.get_device_index());
  const Tensor f = torch::stable::contiguous(features), n = torch::stable::contiguous(neighbours);
  const std::optional<Tensor> b = contiguous(bias);
  const int64_t K = n.size(0), P = n.size(1), D = weight.size(0);
  const Tensor out = new_empty(f, {P, D});
  if (out.numel() == 0) return out;
  const cudaStream_t stream = current_stream(f);
  with_floating_dtype(f.scalar_type(), "sparse_conv", [&](auto zero) {
    using T = decltype(zero);
    const Weight<T> from(weight);
    const Tensor packed = new_empty(f, {K, from.C, from.width});
    if (packed.numel() > 0) {
      pack_weight<T><<<blocks_for(packed.numel()), kThreads, 0, stream>>>(from, packed.mutable_data_ptr<T>());
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
    const Convolution<T> conv{PackedRows<T>(f),
                              packed.const_data_ptr<T>(),
                              data_or_null<T>(b),
                              n.const_data_ptr<int32_t>(),
                              out.mutable_data_ptr<T>(),
                              D,
                              K,
                              P,
                              from.width};
    if (D <= 32)
      launch<T, 32>(conv, stream);
    else
      launch<T, 64>(conv, stream);
  });
  return out;
}

template <typename T>
struct WeightGradient {
  PackedRows<T> features, grad;
  const int32_t* neighbours;
  accumulator_t<T>* partial;  // (parts, D, K, C)
  int64_t K, P, parts;

  // Outputs begin ... end - 1 of a part; parts differ by whole tiles, and their number depends on sizes alone.
  __device__ int64_t begin(int64_t part) const {
    const int64_t tiles = (P + kDepth<T> - 1) / kDepth<T>;
    return min(P, tiles * part / parts * kDepth<T>);
  }
};

// Copies channels c, c + 1, ... of the rows that a tap reads for outputs from p on to shared memory.
template <int kColumns, typename T>
__device__ void stage_features(const PackedRows<T>& features, const int32_t* neighbours, int64_t outputs, int64_t c,
                               T* to) {
  constexpr int kPacks = kColumns / Pack<T>::kCount;
  for (int i = threadIdx.x; i < kDepth<T> * kPacks; i += blockDim.x) {
    const int k = i / kPacks, column = i % kPacks * Pack<T>::kCount;
    const int32_t row = k < outputs ? neighbours[k] : -1;
    store_pack(to + k * kColumnPitch<T, kColumns> + column, features.load(row, c + column));
  }
}

// Copies channels d ... d + 15 of the gradients of outputs from p on, transposed, to the warp's own tile. Outputs that
// the tap does not have count as 0, for the product with 0 of what is not finite would show.
template <typename T>
__device__ void stage_gradients(const PackedRows<T>& grad, const int32_t* neighbours, int64_t p, int64_t outputs,
                                int64_t d, T* to) {
  for (int i = threadIdx.x % kWarp; i < kWarpRows * kDepth<T>; i += kWarp) {
    const int r = i % kWarpRows, k = i / kWarpRows;
    const bool there = k < outputs && d + r < grad.channels && neighbours[k] >= 0;
    to[r * kRowPitch<T> + k] = there ? grad.data[(p + k) * grad.channels + d + r] : T(0.0f);
  }
}

// A block takes a tap, a part of the outputs, 16 channels of the gradient for each of its warps, and kColumns channels
// of the features. All its warps read the same neighbours, so they agree on what to skip.
template <typename T, int kColumns>
__global__ void __launch_bounds__(kThreads) sum_parts(WeightGradient<T> from) {
  __shared__ __align__(128) T left[kBlockRows * kRowPitch<T>];
  __shared__ __align__(128) T right[kDepth<T> * kColumnPitch<T, kColumns>];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t part = blockIdx.x % from.parts, t = blockIdx.x / from.parts, end = from.begin(part + 1);
  const int64_t d = blockIdx.y * static_cast<int64_t>(blockDim.x / kWarp * kWarpRows) + warp * kWarpRows;
  const int64_t c = blockIdx.z * static_cast<int64_t>(kColumns), C = from.features.channels, D = from.grad.channels;
  T* own = left + warp * kWarpRows * kRowPitch<T>;
  WarpProducts<T, kColumns> sums;
  for (int64_t p = from.begin(part); p < end; p += kDepth<T>) {
    const int32_t* neighbours = from.neighbours + t * from.P + p;
    const int64_t outputs = min(end - p, static_cast<int64_t>(kDepth<T>));
    bool some = false;
    for (int64_t k = lane; k < outputs; k += kWarp) {
      from.features.check(neighbours[k]);
      some |= neighbours[k] >= 0;
    }
    if (!__any_sync(0xffffffffu, some)) continue;
    __syncthreads();  // nobody reads the tiles before
    stage_features<kColumns>(from.features, neighbours, outputs, c, right);
    stage_gradients(from.grad, neighbours, p, outputs, d, own);
    __syncthreads();
    sums.add(own, right, kDepth<T>);
  }
  sums.write(own, [&](int r, int column, accumulator_t<T> sum) {
    if (d + r < D && c + column < C) from.partial[((part * D + d + r) * from.K + t) * C + c + column] = sum;
  });
}

// The second pass: parts in order.
template <typename A, typename T>
__global__ void add_parts(const A* partial, int64_t parts, int64_t size, T* out) {
  const int64_t i = thread_number();
  if (i >= size) return;
  A sum = 0;
  for (int64_t part = 0; part < parts; ++part) sum += partial[part * size + i];
  out[i] = static_cast<T>(sum);
}

template <typename T, int kColumns>
void launch(WeightGradient<T> from, const Tensor& out) {
  constexpr int64_t kBlocks = 2048;        // enough for any device
  constexpr int64_t kLeastOutputs = 1024;  // of a part, else the second pass has more to add than the first
  const int64_t D = from.grad.channels, C = from.features.channels, size = D * from.K * C;
  const int64_t warps = std::min<int64_t>(kWarpsPerBlock, ceil_divide(D, kWarpRows));
  const int64_t across = ceil_divide(D, warps * kWarpRows), along = ceil_divide(C, kColumns);
  from.parts = std::clamp<int64_t>(ceil_divide(kBlocks, from.K * across * along), 1,
                                   std::max<int64_t>(1, from.P / kLeastOutputs));
  const Tensor partial = new_empty(out, {from.parts, size}, sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float);
  from.partial = partial.template mutable_data_ptr<accumulator_t<T>>();
  const cudaStream_t stream = current_stream(out);
  const dim3 blocks(static_cast<unsigned>(from.parts * from.K), static_cast<unsigned>(across),
                    static_cast<unsigned>(along));
  sum_parts<T, kColumns><<<blocks, static_cast<unsigned>(warps * kWarp), 0, stream>>>(from);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  add_parts<<<blocks_for(size), kThreads, 0, stream>>>(static_cast<const accumulator_t<T>*>(from.partial), from.parts,
                                                       size, out.template mutable_data_ptr<T>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor sparse_conv_weight_gradient(const Tensor& features, const Tensor& grad, const Tensor& neighbours) {
  check_grad(features, grad, neighbours);
  const torch::stable::accelerator::DeviceGuard on_device(features.get_device_index());
  const Tensor f = torch::stable::contiguous(features), g = torch::stable::contiguous(grad),
               n = torch::stable::contiguous(neighbours);
  const Tensor out = new_empty(f, {g.size(1), n.size(0), f.size(1)});
  if (out.numel() == 0) return out;
  with_floating_dtype(f.scalar_type(), "sparse_conv_weight_gradient", [&](auto zero) {
    using T = decltype(zero);
    const WeightGradient<T> from{
        PackedRows<T>(f), PackedRows<T>(g), n.const_data_ptr<int32_t>(), nullptr, n.size(0), n.size(1), 1};
    if (f.size(1) <= 32)
      launch<T, 32>(from, out);
    else
      launch<T, 64>(from, out);
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("sparse_conv", TORCH_BOX(&geoguide3d::cuda::sparse_conv));
  m.impl("sparse_conv_weight_gradient", TORCH_BOX(&geoguide3d::cuda::sparse_conv_weight_gradient));
}
