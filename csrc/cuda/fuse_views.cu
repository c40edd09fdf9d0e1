#include "../fuse_views.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cfloat>

#include "launch.cuh"
#include "vector.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;

constexpr unsigned kMostBlocks = 1 << 16;  // sightings of a view may be far fewer than E: loops take what is left

__device__ void check_sighting(const Sightings& s, const Sampling& sampling, int64_t N, int64_t begin, int64_t e) {
  const int64_t point = s.point_ids[e];
  const float weight = s.weight(e);
  assert(0 <= point && point < N && "point_ids out of range");
  assert((e == begin || s.point_ids[e - 1] < point) && "point_ids must ascend strictly within a view");
  assert(sampling.u.holds(s.uv[2 * e]) && sampling.v.holds(s.uv[2 * e + 1]) && "uv outside the image");
  assert(weight >= 0 && weight <= FLT_MAX && "weights must be finite and not negative");
}

struct Range {
  int64_t begin, end;
};

__device__ Range sightings_of_view(const Sightings& s, int64_t view, int64_t V) {
  const Range range{s.offsets[view], s.offsets[view + 1]};
  assert(0 <= range.begin && range.begin <= range.end && range.end <= s.E && "offsets must ascend");
  assert((view > 0 || range.begin == 0) && (view + 1 < V || range.end == s.E) && "offsets must run from 0 to E");
  return range;
}

// kWidth values that lie side by side, in loads of 16 bytes where that many fill them.
template <int kWidth, typename T>
__device__ void load_values(const T* address, T (&values)[kWidth]) {
  if constexpr (kWidth % Pack<T>::kCount == 0) {
#pragma unroll
    for (int i = 0; i < kWidth; i += Pack<T>::kCount) {
      const Pack<T> pack = load_pack(address + i);
#pragma unroll
      for (int k = 0; k < Pack<T>::kCount; ++k) values[i + k] = pack.values[k];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = address[i];
  }
}

template <int kWidth>
__device__ void store_values(float* address, const float (&values)[kWidth]) {
  if constexpr (kWidth % Pack<float>::kCount == 0) {
#pragma unroll
    for (int i = 0; i < kWidth; i += Pack<float>::kCount)
      store_pack(address + i, Pack<float>{values[i], values[i + 1], values[i + 2], values[i + 3]});
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) address[i] = values[i];
  }
}

template <int kTaps>
__device__ float blend(const float (&taps)[kTaps], const Place<kTaps>& place) {
  if constexpr (kTaps == 1) {
    return taps[0];
  } else {
    const float above = taps[0] + place.share_u * (taps[1] - taps[0]);
    const float below = taps[2] + place.share_u * (taps[3] - taps[2]);
    return above + place.share_v * (below - above);
  }
}

// What comes after a row's channels: one thread of those that added them.
__device__ void finish_point(const FusionState& state, int64_t point, float weight, float square) {
  const float mass = state.mass[point];
  if (state.spread && mass > 0) state.spread[point] += weight * (mass / (mass + weight)) * square;
  state.mass[point] = mass + weight;
  ++state.count[point];
}

__device__ float inverse_mass_of(const FusionState& state, int64_t point) {
  const float mass = state.spread ? state.mass[point] : 0;
  return mass > 0 ? 1 / mass : 0;
}

// Channels lie side by side: one warp per sighting, kWidth channels at a time in each lane.
template <typename T, int kTaps, int kWidth>
__global__ void add_rows(FusionState state, Maps<T> maps, Sightings s, Sampling sampling, int64_t view, int64_t V) {
  const Range range = sightings_of_view(s, view, V);
  const int64_t warps = gridDim.x * static_cast<int64_t>(kWarpsPerBlock);
  const T* __restrict__ map = maps.data + view * maps.view_stride;
  const int lane = threadIdx.x % kWarp;
  for (int64_t e = range.begin + thread_number() / kWarp; e < range.end; e += warps) {
    check_sighting(s, sampling, state.N, range.begin, e);
    const int64_t point = s.point_ids[e];
    const float weight = s.weight(e), inverse_mass = inverse_mass_of(state, point);
    if (weight == 0) continue;  // the whole warp: it has one e
    const Place<kTaps> place(maps, sampling, s.uv + 2 * e);
    float* __restrict__ sums = state.sums + point * state.C;
    float square = 0;
#pragma unroll 4
    for (int64_t c = lane * kWidth; c < state.C; c += kWarp * kWidth) {
      T values[kTaps][kWidth];
      float sum[kWidth];
#pragma unroll
      for (int k = 0; k < kTaps; ++k) load_values<kWidth>(map + place.offsets[k] + c, values[k]);
      load_values<kWidth>(sums + c, sum);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        float taps[kTaps];
#pragma unroll
        for (int k = 0; k < kTaps; ++k) taps[k] = static_cast<float>(values[k][i]);
        const float value = blend(taps, place), difference = value - sum[i] * inverse_mass;
        square += difference * difference;
        sum[i] += weight * value;
      }
      store_values<kWidth>(sums + c, sum);
    }
    square = warp_sum(square);  // also waits until every lane has read the mass
    if (lane == 0) finish_point(state, point, weight, square);
  }
}

// Channels lie in planes: a block takes a tile of kWarp sightings whose pixels are neighbours. Its warps read planes,
// one sighting in each lane, and add rows, one channel in each lane; shared memory turns one into the other.
constexpr int kPlanes = 32;  // channels that are turned at once
constexpr int kRowsPerWarp = kWarp / kWarpsPerBlock;

template <typename T, int kTaps>
__global__ void add_planes(FusionState state, Maps<T> maps, Sightings s, Sampling sampling, const int64_t* order,
                           int64_t view, int64_t V, int64_t channels_per_block) {
  __shared__ float turned[kPlanes][kWarp + 1];
  const Range range = sightings_of_view(s, view, V);
  const T* __restrict__ map = maps.data + view * maps.view_stride;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t first_channel = blockIdx.y * channels_per_block;
  const int64_t last_channel = min(first_channel + channels_per_block, state.C);
  const int64_t step = gridDim.x * static_cast<int64_t>(kWarp);
  for (int64_t tile = range.begin + blockIdx.x * static_cast<int64_t>(kWarp); tile < range.end; tile += step) {
    const int64_t read = order[min(tile + lane, range.end - 1)];
    check_sighting(s, sampling, state.N, range.begin, read);
    const Place<kTaps> place(maps, sampling, s.uv + 2 * read);
    float inverse_mass[kRowsPerWarp], square[kRowsPerWarp] = {};
    for (int i = 0; i < kRowsPerWarp; ++i)
      inverse_mass[i] = inverse_mass_of(state, s.point_ids[order[min(tile + warp * kRowsPerWarp + i, range.end - 1)]]);
    for (int64_t channel = first_channel; channel < last_channel; channel += kPlanes) {
#pragma unroll
      for (int plane = warp; plane < kPlanes; plane += kWarpsPerBlock) {
        if (channel + plane >= last_channel) continue;
        float taps[kTaps];
#pragma unroll
        for (int k = 0; k < kTaps; ++k)
          taps[k] = static_cast<float>(map[place.offsets[k] + (channel + plane) * maps.channel_stride]);
        turned[plane][lane] = blend(taps, place);
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kRowsPerWarp; ++i) {
        const int row = warp * kRowsPerWarp + i;
        if (tile + row >= range.end || channel + lane >= last_channel) continue;
        const int64_t e = order[tile + row];
        const float weight = s.weight(e), value = turned[lane][row];
        if (weight == 0) continue;
        float& sum = state.sums[s.point_ids[e] * state.C + channel + lane];
        const float difference = value - sum * inverse_mass[i];
        square[i] += difference * difference;
        sum += weight * value;
      }
      __syncthreads();  // before the next planes overwrite what is turned
    }
    for (int i = 0; i < kRowsPerWarp; ++i) {
      const int64_t e = tile + warp * kRowsPerWarp + i;
      const float whole = warp_sum(square[i]);
      if (e < range.end && lane == 0 && blockIdx.y == 0 && s.weight(order[e]) != 0)
        finish_point(state, s.point_ids[order[e]], s.weight(order[e]), whole);
    }
  }
}

// keys[e] orders sightings by view, then by pixel.
__global__ void find_pixels(Sightings s, Sampling sampling, int64_t V, int64_t* keys) {
  const int64_t e = thread_number();
  if (e >= s.E) return;
  assert(sampling.u.holds(s.uv[2 * e]) && sampling.v.holds(s.uv[2 * e + 1]) && "uv outside the image");
  int64_t view = 0, end = V;  // the last view that begins at e or before
  while (end - view > 1) {
    const int64_t middle = (view + end) / 2;
    (s.offsets[middle] <= e ? view : end) = middle;
  }
  const int64_t row = sampling.v.at(s.uv[2 * e + 1]).first, column = sampling.u.at(s.uv[2 * e]).first;
  keys[e] = (view * sampling.v.size + row) * sampling.u.size + column;
}

template <typename T, int kTaps>
void add_views_of_planes(const FusionState& state, const Maps<T>& maps, const Sightings& s, const Sampling& sampling,
                         int64_t V, const Tensor& point_ids) {
  const cudaStream_t stream = current_stream(point_ids);
  const Tensor keys = new_empty(point_ids, {s.E});
  find_pixels<<<blocks_for(s.E), kThreads, 0, stream>>>(s, sampling, V, keys.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto sorted = stable_sort(keys);
  // The squares of a row are added up by one block; without them several blocks share its channels.
  const int64_t channels = state.spread ? std::max<int64_t>(state.C, 1) : 4 * kPlanes;
  const auto tiles = static_cast<unsigned>(std::min<int64_t>((s.E + kWarp - 1) / kWarp, kMostBlocks));
  const dim3 blocks(tiles, static_cast<unsigned>(std::max<int64_t>((state.C + channels - 1) / channels, 1)));
  for (int64_t view = 0; view < V; ++view) {
    add_planes<T, kTaps><<<blocks, kThreads, 0, stream>>>(state, maps, s, sampling, sorted[1].const_data_ptr<int64_t>(),
                                                          view, V, channels);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

template <typename T>
bool rows_fit_packs(const FusionState& state, const Maps<T>& maps) {
  const int64_t width = Pack<T>::kCount;
  return fits_packs(maps.data, state.C) && fits_packs(state.sums, state.C) && maps.view_stride % width == 0 &&
         maps.row_stride % width == 0 && maps.column_stride % width == 0;
}

template <int kTaps, typename T>
void add_views(const FusionState& state, const Maps<T>& maps, const Sightings& s, const Sampling& sampling, int64_t V,
               const Tensor& point_ids) {
  if (maps.channel_stride != 1 && state.C > 1)
    return add_views_of_planes<T, kTaps>(state, maps, s, sampling, V, point_ids);
  const unsigned blocks = std::min(blocks_for(s.E * kWarp), kMostBlocks);
  const cudaStream_t stream = current_stream(point_ids);
  for (int64_t view = 0; view < V; ++view) {
    if (rows_fit_packs(state, maps))
      add_rows<T, kTaps, Pack<T>::kCount><<<blocks, kThreads, 0, stream>>>(state, maps, s, sampling, view, V);
    else
      add_rows<T, kTaps, 1><<<blocks, kThreads, 0, stream>>>(state, maps, s, sampling, view, V);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

void fuse_views(const std::vector<Tensor>& state, const Tensor& maps, const std::vector<Tensor>& sightings,
                const std::optional<Tensor>& weights, const std::vector<int64_t>& image_size, bool bilinear) {
  check_sightings(sightings, weights, maps.size(0));
  check_maps(maps, image_size, sightings[0].size(0));
  check_state(state, maps.size(3));
  if (sightings[0].size(0) == 0) return;
  const torch::stable::accelerator::DeviceGuard on_device(maps.get_device_index());
  const std::vector<Tensor> held = held_contiguous(sightings, weights);
  const Sampling sampling = sampling_of(maps, image_size, bilinear);
  with_floating_dtype(maps.scalar_type(), "fuse_views", [&](auto zero) {
    using T = decltype(zero);
    const auto add = bilinear ? &add_views<4, T> : &add_views<1, T>;
    add(state_of(state), maps_of<T>(maps), sightings_of(held), sampling, maps.size(0), held[0]);
  });
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("fuse_views", TORCH_BOX(&geoguide3d::cuda::fuse_views));
}
