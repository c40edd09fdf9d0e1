// Contract of fuse_views, shared by csrc/cpu, csrc/cuda and the reference in geoguide3d/ops/fuse_views.py.
//
//   V views with feature maps of one size see some of N points: the sightings. A sighting reads a row of C channels
//   from its view's map and adds it to its point's sums, in place.
//
//     state       sums (N, C) float32, mass (N,) float32, count (N,) int32, spread (N,) float32 or absent; contiguous
//     maps        (V, h, w, C)  float32 | float64 | float16 | bfloat16, any strides
//     sightings   point_ids (E,) int64, uv (E, 2) float64, offsets (V + 1,) int64: those of view v are
//                 offsets[v] ... offsets[v + 1] - 1, their point_ids ascend strictly, so each point comes once per view
//     weights     (E,) float32, finite, not negative, or none for weights of 1
//     image_size  W, H: uv are pixels of a W × H image with centres at integers; the maps cover the same field of view
//
//   fuse_views(state, maps, sightings, weights, image_size, bilinear), for every sighting, views in order:
//     row   nearest: with u rounded half to even, column floor((u + 1/2) · w / W); rows alike.
//           bilinear: between the pixel centres around x = (u + 1/2) · w / W - 1/2, clamped to [0, w - 1]; rows alike.
//           Taken in float32. The rounded pixel must lie in the image.
//     spread[point] += weight · mass / (mass + weight) · |row - sums / mass|², with sums and mass from before: so it
//           is Σ weight · |row - mean|² without its cancellation (West 1979), the trace of the scatter matrix
//     sums[point] += weight · row,  mass[point] += weight,  count[point] += 1
//   A sighting of weight 0 adds nothing, whatever its row holds.
//
//   Results are deterministic and do not depend on the number of threads. Sums, mass and count do not depend on how
//   sightings are cut into calls, nor on the strides of the maps.
//   N = 0, E = 0, V = 0 and C = 0 are valid. A sighting that breaks these rules is an error: on the CPU an exception
//   before anything is added, on CUDA a device-side assertion (an exception would need to wait for the device).
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <optional>
#include <vector>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

// Pointers of a state of N points and C channels; spread may be null.
struct FusionState {
  float *sums, *mass, *spread;
  int32_t* count;
  int64_t N, C;
};

// Pointers of E sightings; weights may be null.
struct Sightings {
  const int64_t *point_ids, *offsets;
  const double* uv;
  const float* weights;
  int64_t E;

  C10_HOST_DEVICE float weight(int64_t e) const { return weights ? weights[e] : 1.0f; }
};

template <typename T>
struct Maps {
  const T* data;
  int64_t height, width;
  int64_t view_stride, row_stride, column_stride, channel_stride;
};

// Which pixels of one axis are read: `first`, and `second` with this share.
struct Taps {
  int64_t first, second;
  float share;
};

// Reads an image axis of `image` pixels at u from a map axis of `size` pixels.
struct Axis {
  int64_t image, size;
  bool bilinear;

  C10_HOST_DEVICE bool holds(double u) const {
    const double pixel = rint(u);  // half to even
    return 0 <= pixel && pixel < static_cast<double>(image);
  }
  C10_HOST_DEVICE Taps at(double u) const {
    if (!bilinear) {
      const int64_t here = (2 * static_cast<int64_t>(rint(u)) + 1) * size / (2 * image);
      return {here, here, 0.0f};
    }
    const double last = static_cast<double>(size - 1);
    const double x = (u + 0.5) * static_cast<double>(size) / static_cast<double>(image) - 0.5;
    const double inside = x < 0 ? 0 : x > last ? last : x;
    const auto first = static_cast<int64_t>(inside);
    return {first, first + 1 < size ? first + 1 : first, static_cast<float>(inside - static_cast<double>(first))};
  }
};

struct Sampling {
  Axis u, v;
};

// Where in its view's map a sighting reads: offsets in the order upper left, upper right, lower left, lower right; the
// first alone where kTaps is 1.
template <int kTaps>
struct Place {
  int64_t offsets[kTaps];
  float share_u, share_v;

  template <typename T>
  C10_HOST_DEVICE Place(const Maps<T>& maps, const Sampling& sampling, const double* uv) {
    const Taps u = sampling.u.at(uv[0]), v = sampling.v.at(uv[1]);
    share_u = u.share;
    share_v = v.share;
    for (int k = 0; k < kTaps; ++k)
      offsets[k] = (k < 2 ? v.first : v.second) * maps.row_stride + (k % 2 ? u.second : u.first) * maps.column_stride;
  }
};

inline void check_state(const std::vector<Tensor>& state, int64_t C) {
  STD_TORCH_CHECK(state.size() == 3 || state.size() == 4, "state must be sums, mass, count and perhaps spread");
  STD_TORCH_CHECK(state[0].dim() == 2 && state[0].size(1) == C, "sums must be (N, ", C, ")");
  for (const Tensor& tensor : state) {
    STD_TORCH_CHECK(tensor.is_contiguous() && tensor.size(0) == state[0].size(0), "state must be contiguous, N each");
    const ScalarType dtype = &tensor == &state[2] ? ScalarType::Int : ScalarType::Float;
    STD_TORCH_CHECK(tensor.scalar_type() == dtype, "count must be int32, sums, mass and spread float32");
    STD_TORCH_CHECK(&tensor == &state[0] || tensor.dim() == 1, "mass, count and spread must be (N,)");
  }
}

inline void check_sightings(const std::vector<Tensor>& sightings, const std::optional<Tensor>& weights, int64_t V) {
  STD_TORCH_CHECK(sightings.size() == 3, "sightings must be point_ids, uv and offsets");
  const Tensor &ids = sightings[0], &uv = sightings[1], &offsets = sightings[2];
  STD_TORCH_CHECK(ids.dim() == 1 && ids.scalar_type() == ScalarType::Long, "point_ids must be (E,) int64");
  const int64_t E = ids.size(0);
  STD_TORCH_CHECK(V > 0 || E == 0, E, " sightings of no views");
  STD_TORCH_CHECK(uv.dim() == 2 && uv.size(0) == E && uv.size(1) == 2, "uv must be (", E, ", 2)");
  STD_TORCH_CHECK(uv.scalar_type() == ScalarType::Double, "uv must be float64");
  STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) == V + 1, "offsets must be (", V + 1, ",)");
  STD_TORCH_CHECK(offsets.scalar_type() == ScalarType::Long, "offsets must be int64");
  if (!weights) return;
  STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == E, "weights must be (", E, ",)");
  STD_TORCH_CHECK(weights->scalar_type() == ScalarType::Float, "weights must be float32");
}

inline void check_maps(const Tensor& maps, const std::vector<int64_t>& image_size, int64_t E) {
  STD_TORCH_CHECK(maps.dim() == 4, "maps must be (V, h, w, C), got ", maps.dim(), " dimensions");
  STD_TORCH_CHECK(image_size.size() == 2 && image_size[0] > 0 && image_size[1] > 0, "image_size must be W, H");
  STD_TORCH_CHECK(E == 0 || (maps.size(1) > 0 && maps.size(2) > 0), "maps of no pixels");
}

inline FusionState state_of(const std::vector<Tensor>& state) {
  return {state[0].mutable_data_ptr<float>(),
          state[1].mutable_data_ptr<float>(),
          state.size() == 4 ? state[3].mutable_data_ptr<float>() : nullptr,
          state[2].mutable_data_ptr<int32_t>(),
          state[0].size(0),
          state[0].size(1)};
}

template <typename T>
Maps<T> maps_of(const Tensor& maps) {
  return {maps.const_data_ptr<T>(), maps.size(1),   maps.size(2),  maps.stride(0),
          maps.stride(1),           maps.stride(2), maps.stride(3)};
}

// point_ids, uv, offsets and, where given, weights: contiguous, and to be kept while their pointers are used.
inline std::vector<Tensor> held_contiguous(const std::vector<Tensor>& sightings, const std::optional<Tensor>& weights) {
  std::vector<Tensor> held;
  for (const Tensor& tensor : sightings) held.push_back(torch::stable::contiguous(tensor));
  if (weights) held.push_back(torch::stable::contiguous(*weights));
  return held;
}

inline Sightings sightings_of(const std::vector<Tensor>& held) {
  return {held[0].const_data_ptr<int64_t>(), held[2].const_data_ptr<int64_t>(), held[1].const_data_ptr<double>(),
          held.size() == 4 ? held[3].const_data_ptr<float>() : nullptr, held[0].size(0)};
}

inline Sampling sampling_of(const Tensor& maps, const std::vector<int64_t>& image_size, bool bilinear) {
  return {{image_size[0], maps.size(2), bilinear}, {image_size[1], maps.size(1), bilinear}};
}
}  // namespace geoguide3d
