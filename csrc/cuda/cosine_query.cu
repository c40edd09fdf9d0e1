#include "../cosine_query.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "launch.cuh"
#include "vector.cuh"

namespace geoguide3d::cuda {
namespace {

// A team of lanes shares four rows: it loads 128 bytes of each at a time, and every direction that it takes from shared
// memory meets four rows. The teams of a warp take the same direction at the same time, which is then read once.
constexpr int kTeam = 8;
constexpr int kTeamRows = 4;
constexpr int kBlockRows = kThreads / kTeam * kTeamRows;

template <typename T>
struct Features {
  const T* data;
  int64_t N, C, row_stride, column_stride;
  bool packed;

  explicit Features(const Tensor& tensor)
      : data(tensor.const_data_ptr<T>()),
        N(tensor.size(0)),
        C(tensor.size(1)),
        row_stride(tensor.stride(0)),
        column_stride(tensor.stride(1)),
        packed(column_stride == 1 && fits_packs(data, C) && row_stride % Pack<T>::kCount == 0) {}

  // Channels c, c + 1, ... of row n; zeros where there are none.
  __device__ Pack<T> load(int64_t n, int64_t c) const {
    const T* row = data + n * row_stride;
    Pack<T> pack = {};
    if (packed) {
      if (c < C) pack = load_pack(row + c);
      return pack;
    }
#pragma unroll
    for (int e = 0; e < Pack<T>::kCount; ++e)
      if (c + e < C) pack.values[e] = row[(c + e) * column_stride];
    return pack;
  }
};

// How a step of a team goes through channels: lane l loads one pack of T, whose parts are packs of A.
template <typename T>
struct Step {
  using A = accumulator_t<T>;
  static constexpr int kPart = Pack<A>::kCount;
  static constexpr int kParts = Pack<T>::kCount / kPart;
  static constexpr int kChannels = kTeam * Pack<T>::kCount;
};

// Directions first ... first + width - 1 of (K, C); `chunk_steps` of their `steps` fit shared memory at a time.
template <typename A>
struct Directions {
  const A* data;
  int64_t K, first;
  int steps, chunk_steps;
};

// scores (N, K) and inverse (N,), or labels, best and rival (N,): the others are null.
template <typename A>
struct Outputs {
  A *scores, *inverse;
  int64_t* labels;
  A *best, *rival;
  int64_t K, P;
};

// Copies the directions' channels of some steps to `text`, ordered as they are read: [step][part][direction][lane][A].
template <int kWidth, typename T, typename A>
__device__ void stage(A* text, const Directions<A>& directions, int64_t C, int first_step, int last_step) {
  using S = Step<T>;
  const int channels = (last_step - first_step) * S::kChannels;
  for (int i = threadIdx.x; i < kWidth * channels; i += kThreads) {
    const int k = i / channels, channel = i % channels, in_step = channel % S::kChannels;
    const int lane = in_step / Pack<T>::kCount, part = in_step % Pack<T>::kCount / S::kPart;
    const int step_part = channel / S::kChannels * S::kParts + part;
    const int64_t c = static_cast<int64_t>(first_step) * S::kChannels + channel, row = directions.first + k;
    text[((step_part * kWidth + k) * kTeam + lane) * S::kPart + channel % S::kPart] =
        row < directions.K && c < C ? directions.data[row * C + c] : A{0};
  }
}

template <int kWidth, typename A>
struct Sums {
  A dots[kTeamRows][kWidth] = {};
  A squares[kTeamRows] = {};
};

template <int kWidth, typename T, typename A>
__device__ void accumulate(Sums<kWidth, A>& sums, const Features<T>& features, const A* text, int64_t n, int first_step,
                           int last_step) {
  using S = Step<T>;
  const int lane = threadIdx.x % kTeam;
  for (int step = first_step; step < last_step; ++step) {
    Pack<T> rows[kTeamRows];
#pragma unroll
    for (int r = 0; r < kTeamRows; ++r)
      rows[r] = features.load(n + r < features.N ? n + r : features.N - 1,
                              static_cast<int64_t>(step) * S::kChannels + lane * Pack<T>::kCount);
    const A* here = text + ((step - first_step) * S::kParts * kWidth * kTeam + lane) * S::kPart;
#pragma unroll
    for (int part = 0; part < S::kParts; ++part) {
      A values[kTeamRows][S::kPart];
#pragma unroll
      for (int r = 0; r < kTeamRows; ++r)
#pragma unroll
        for (int e = 0; e < S::kPart; ++e) {
          values[r][e] = static_cast<A>(rows[r].values[part * S::kPart + e]);
          sums.squares[r] += values[r][e] * values[r][e];
        }
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const Pack<A> direction = load_pack(here + (part * kWidth + k) * kTeam * S::kPart);
#pragma unroll
        for (int r = 0; r < kTeamRows; ++r)
#pragma unroll
          for (int e = 0; e < S::kPart; ++e) sums.dots[r][k] += values[r][e] * direction.values[e];
      }
    }
  }
}

template <typename A>
__device__ A inverse_length(A squares) {
  if (!(squares <= kMost<A>)) return kNan<A>;
  const A length = sqrt(squares);
  return A{1} / (length > kLeastLength<A> ? length : kLeastLength<A>);
}

// Adds the scores of row n with directions first, first + 1, ... to what earlier ones left in the outputs.
template <int kWidth, typename A>
__device__ void take_top(const A (&dots)[kWidth], A inverse, const Outputs<A>& out, int64_t n, int64_t first) {
  A best = first > 0 ? out.best[n] : -kInfinity<A>, rival = first > 0 ? out.rival[n] : -kInfinity<A>;
  int64_t label = first > 0 ? out.labels[n] : -1;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    if (first + k >= out.K) break;
    const A score = inverse * dots[k];
    if (first + k >= out.P) {
      if (!(score <= rival) && rival == rival) rival = score;
    } else if (score > best) {
      best = score;
      label = first + k;
    }
  }
  out.labels[n] = label;
  out.best[n] = first + kWidth >= out.K && label < 0 ? kNan<A> : best;
  out.rival[n] = rival;
}

// Two blocks for each multiprocessor where 128 registers suffice, which -Xptxas -v tells.
template <int kWidth, typename T>
constexpr int kMinBlocks = kWidth + 2 * (Pack<T>::kCount - Step<T>::kPart) <= 20 ? 2 : 1;

// Blocks stay and go through sets of rows, so that directions are copied to shared memory once for each block.
template <int kWidth, typename T, typename A>
__global__ void __launch_bounds__(kThreads, kMinBlocks<kWidth, T>)
    score_rows(Features<T> features, Directions<A> directions, Outputs<A> out, int64_t sets) {
  extern __shared__ __align__(16) unsigned char shared[];
  A* text = reinterpret_cast<A*>(shared);
  const int lane = threadIdx.x % kTeam;
  for (int64_t set = blockIdx.x; set < sets; set += gridDim.x) {
    const int64_t n = set * kBlockRows + threadIdx.x / kTeam * kTeamRows;
    Sums<kWidth, A> sums;
    for (int step = 0; step < directions.steps; step += directions.chunk_steps) {
      const int last = min(step + directions.chunk_steps, directions.steps);
      if (set == blockIdx.x || directions.chunk_steps < directions.steps) {
        __syncthreads();
        stage<kWidth, T>(text, directions, features.C, step, last);
        __syncthreads();
      }
      accumulate<kWidth, T>(sums, features, text, n, step, last);
    }
#pragma unroll
    for (int r = 0; r < kTeamRows; ++r) {
      const A inverse = inverse_length(warp_sum<kTeam>(sums.squares[r]));
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sums.dots[r][k] = warp_sum<kTeam>(sums.dots[r][k]);
      if (n + r >= features.N) continue;  // after the sums, in which all lanes take part
      if (out.scores == nullptr) {
        if (lane == r) take_top(sums.dots[r], inverse, out, n + r, directions.first);
        continue;
      }
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (k % kTeam == lane && directions.first + k < out.K)
          out.scores[(n + r) * out.K + directions.first + k] = inverse * sums.dots[r][k];
      if (lane == r && directions.first == 0) out.inverse[n + r] = inverse;
    }
  }
}

int attribute(cudaDeviceAttr which, int device) {
  int value;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

template <int kWidth, typename T, typename A>
void launch(const Features<T>& features, Directions<A> directions, const Outputs<A>& out, const Tensor& on) {
  const int device = on.get_device_index();
  const int step_bytes = kWidth * Step<T>::kChannels * static_cast<int>(sizeof(A));
  // Half of a multiprocessor's shared memory, less the 1 KiB that CUDA takes of each block, so that two blocks fit.
  const int most_bytes = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, device) / 2 - 1024;
  directions.steps = static_cast<int>((features.C + Step<T>::kChannels - 1) / Step<T>::kChannels);
  directions.chunk_steps = std::max(1, std::min(directions.steps, most_bytes / step_bytes));
  const int bytes = directions.chunk_steps * step_bytes;
  const auto kernel = score_rows<kWidth, T, A>;
  STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  int resident = 0;
  STD_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, kThreads, bytes));
  const int64_t sets = (features.N + kBlockRows - 1) / kBlockRows;
  const int64_t places =
      static_cast<int64_t>(std::max(1, resident)) * attribute(cudaDevAttrMultiProcessorCount, device);
  const auto blocks = static_cast<unsigned>(std::min(sets, places));
  kernel<<<blocks, kThreads, bytes, current_stream(on)>>>(features, directions, out, sets);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// Calls pass with the least of the widths that holds `left` directions, else with the greatest.
template <int kWidth, int... kWider, typename Pass>
void with_width(int64_t left, Pass pass) {
  if constexpr (sizeof...(kWider) > 0)
    if (left > kWidth) return with_width<kWider...>(left, pass);
  pass(std::integral_constant<int, kWidth>{});
}

// Goes through all directions in as few launches as registers allow. Each reads the features anew, which takes less
// time than the products of the widest launch.
template <typename T, typename A>
void score(const Tensor& tensor, const Tensor& d, const Outputs<A>& out) {
  const Features<T> features(tensor);
  if (features.N == 0) return;
  for (int64_t first = 0; first == 0 || first < out.K;) {
    const auto pass = [&](auto width) {
      launch<width.value>(features, Directions<A>{d.const_data_ptr<A>(), out.K, first, 0, 0}, out, tensor);
      first += width.value;
    };
    if constexpr (sizeof(A) == 8)
      with_width<1, 4, 8>(out.K - first, pass);
    else
      with_width<1, 4, 8, 16, 20, 24>(out.K - first, pass);
  }
}

std::tuple<Tensor, Tensor> cosine_scores(const Tensor& features, const Tensor& directions) {
  check_query(features, directions);
  const int64_t N = features.size(0), K = directions.size(0);
  const torch::stable::accelerator::DeviceGuard on_device(features.get_device_index());
  const Tensor d = torch::stable::contiguous(directions);
  const Tensor scores = torch::stable::new_empty(d, {N, K}), inverse = torch::stable::new_empty(d, {N});
  with_feature_dtype(features.scalar_type(), "cosine_scores", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    score<T>(features, d,
             Outputs<A>{scores.mutable_data_ptr<A>(), inverse.mutable_data_ptr<A>(), nullptr, nullptr, nullptr, K, K});
  });
  return {scores, inverse};
}

std::tuple<Tensor, Tensor, Tensor> cosine_top1(const Tensor& features, const Tensor& directions, int64_t P) {
  check_query(features, directions);
  const int64_t N = features.size(0), K = directions.size(0);
  check_positives(P, K);
  const torch::stable::accelerator::DeviceGuard on_device(features.get_device_index());
  const Tensor d = torch::stable::contiguous(directions);
  const Tensor labels = torch::stable::new_empty(d, {N}, ScalarType::Long), best = torch::stable::new_empty(d, {N}),
               rival = torch::stable::new_empty(d, {N});
  with_feature_dtype(features.scalar_type(), "cosine_top1", [&](auto zero) {
    using T = decltype(zero);
    using A = accumulator_t<T>;
    score<T>(features, d,
             Outputs<A>{nullptr, nullptr, labels.mutable_data_ptr<int64_t>(), best.mutable_data_ptr<A>(),
                        rival.mutable_data_ptr<A>(), K, P});
  });
  return {labels, best, rival};
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("cosine_scores", TORCH_BOX(&geoguide3d::cuda::cosine_scores));
  m.impl("cosine_top1", TORCH_BOX(&geoguide3d::cuda::cosine_top1));
}
