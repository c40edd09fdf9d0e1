#include "../fuse_views.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "check_value.h"
#include "convert.h"
#include "grouping.h"

namespace geoguide3d::cpu {
namespace {

constexpr int64_t kChunk = 64;                // channels that are read, blended and added while they are in registers
constexpr int64_t kLine = 64;                 // bytes of a cache line
constexpr int64_t kScratchBytes = 256 << 10;  // of rows gathered from planes; fits the second-level cache

// Fewer elements than this are not worth a thread.
int64_t rows_per_thread(int64_t C) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(C, 1));
}

bool is_valid(const Sightings& s, const Sampling& sampling, int64_t N, int64_t e) {
  const float weight = s.weight(e);
  return (static_cast<uint64_t>(s.point_ids[e]) < static_cast<uint64_t>(N)) & sampling.u.holds(s.uv[2 * e]) &
         sampling.v.holds(s.uv[2 * e + 1]) & (weight >= 0) & (weight <= std::numeric_limits<float>::max());
}

// Throws, with the first offender, where a sighting breaks the contract.
void check_values(const Sightings& s, const Sampling& sampling, int64_t N, int64_t V) {
  check_value(s.offsets[0] == 0 && s.offsets[V] == s.E, "offsets must run from 0 to ", s.E);
  bool valid = true;  // no early exit, so that the loops vectorise
  for (int64_t e = 0; e < s.E; ++e) valid &= is_valid(s, sampling, N, e);
  for (int64_t e = 0; e < s.E && !valid; ++e)
    check_value(is_valid(s, sampling, N, e), "sighting ", e, ": point ", s.point_ids[e], " of ", N, " at (",
                s.uv[2 * e], ", ", s.uv[2 * e + 1], ") in an image of ", sampling.u.image, " x ", sampling.v.image,
                " with weight ", s.weight(e));
  for (int64_t v = 0; v < V; ++v) {
    const int64_t begin = s.offsets[v], end = s.offsets[v + 1];
    check_value(0 <= begin && begin <= end && end <= s.E, "offsets must ascend, got ", begin, " and ", end);
    bool ascends = true;
    for (int64_t e = begin + 1; e < end; ++e) ascends &= s.point_ids[e - 1] < s.point_ids[e];
    check_value(ascends, "point_ids must ascend strictly within a view; view ", v, " does not");
  }
}

// Where one sighting reads its row: taps in the order upper left, upper right, lower left, lower right; the first alone
// where kTaps is 1.
template <typename T, int kTaps>
struct Row {
  const T* taps[kTaps];
  float share_u, share_v;
};

// value[k] = row[c + k] as float, for k < count.
template <typename T, int kTaps>
[[gnu::always_inline]] inline void blend(const Row<T, kTaps>& row, int64_t c, int64_t count, float* __restrict value) {
  convert(row.taps[0] + c, value, count);
  if constexpr (kTaps == 4) {
    alignas(kLine) float right[kChunk], left_below[kChunk], right_below[kChunk];
    convert(row.taps[1] + c, right, count);
    convert(row.taps[2] + c, left_below, count);
    convert(row.taps[3] + c, right_below, count);
    for (int64_t k = 0; k < count; ++k) {
      const float above = value[k] + row.share_u * (right[k] - value[k]);
      const float below = left_below[k] + row.share_u * (right_below[k] - left_below[k]);
      value[k] = above + row.share_v * (below - above);
    }
  }
}

// What a sighting does to the sums of its point.
template <typename T, int kTaps>
struct Update {
  Row<T, kTaps> row;
  float* sums;
  float weight, inverse_mass;

  void prefetch(int64_t c, int64_t end) const {
    for (int64_t k = c; k < end; k += kLine / static_cast<int64_t>(sizeof(T)))
      for (const T* tap : row.taps) __builtin_prefetch(tap + k, 0, 2);
    for (int64_t k = c; k < end; k += kLine / static_cast<int64_t>(sizeof(float))) __builtin_prefetch(sums + k, 1, 2);
  }
};

constexpr int64_t kLanes = 16;  // squares side by side, because the compiler may not reorder the additions of one sum

// Adds channels [c, c + count).
template <bool kSpread, typename T, int kTaps>
[[gnu::always_inline]] inline void add_chunk(const Update<T, kTaps>& update, int64_t c, int64_t count,
                                             float* __restrict squares) {
  alignas(kLine) float value[kChunk];
  float* __restrict sums = update.sums + c;
  blend(update.row, c, count, value);
  if constexpr (kSpread) {
    const auto square = [&](int64_t k) {
      const float difference = value[k] - sums[k] * update.inverse_mass;
      return difference * difference;
    };
    int64_t k = 0;
    for (; k + kLanes <= count; k += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) squares[lane] += square(k + lane);
    for (; k < count; ++k) squares[k % kLanes] += square(k);
  }
  for (int64_t k = 0; k < count; ++k) sums[k] += update.weight * value[k];
}

// Adds a row to its sums and returns its squared distance from the mean before, where kSpread. Meanwhile the rows of
// the next update are fetched, because they are new places for the hardware's prefetcher.
template <bool kSpread, typename T, int kTaps>
[[gnu::noinline]] float add_row(const Update<T, kTaps>& update, const Update<T, kTaps>& next, int64_t C) {
  alignas(kLine) float squares[kLanes] = {};
  int64_t c = 0;
  for (; c + kChunk <= C; c += kChunk) {
    next.prefetch(c, c + kChunk);
    add_chunk<kSpread>(update, c, kChunk, squares);
  }
  next.prefetch(c, C);
  add_chunk<kSpread>(update, c, C - c, squares);
  float sum = 0;
  for (const float square : squares) sum += square;
  return sum;
}

// The sightings of one view.
template <typename T, int kTaps>
struct ViewFusion {
  FusionState state;
  Maps<T> maps;  // data is the view's own
  Sightings sightings;
  Sampling sampling;

  Place<kTaps> place(int64_t e) const { return Place<kTaps>(maps, sampling, sightings.uv + 2 * e); }

  Update<T, kTaps> update(int64_t e, const Row<T, kTaps>& row) const {
    const int64_t point = sightings.point_ids[e];
    const float mass = state.mass[point];
    return {row, state.sums + point * state.C, sightings.weight(e), mass > 0 ? 1 / mass : 0};
  }

  Update<T, kTaps> direct(int64_t e) const {
    const Place<kTaps> here = place(e);
    Row<T, kTaps> row{{}, here.share_u, here.share_v};
    for (int k = 0; k < kTaps; ++k) row.taps[k] = maps.data + here.offsets[k];
    return update(e, row);
  }

  void add(int64_t e, const Update<T, kTaps>& here, const Update<T, kTaps>& next) const {
    if (here.weight == 0) return;
    const int64_t point = sightings.point_ids[e];
    float &mass = state.mass[point], weight = here.weight;
    if (state.spread == nullptr) {
      add_row<false>(here, next, state.C);
    } else {
      const float square = add_row<true>(here, next, state.C);
      if (mass > 0) state.spread[point] += weight * (mass / (mass + weight)) * square;
    }
    mass += weight;
    ++state.count[point];
  }

  // Channels lie side by side: rows are read where they are, in the order of the points.
  void add_rows(int64_t begin, int64_t end) const {
    Update<T, kTaps> here = direct(begin);
    for (int64_t e = begin; e < end; ++e) {
      const Update<T, kTaps> next = direct(std::min(e + 1, end - 1));
      add(e, here, next);
      here = next;
    }
  }

  // Channels lie in planes. A tile of sightings whose pixels are neighbours is read plane by plane into rows, so that
  // each cache line of the map is used once, and then added like any rows.
  int64_t scratch_stride() const {  // an odd number of cache lines: rows spread over all sets of the cache
    const int64_t per_line = kLine / sizeof(T);
    return ((state.C + per_line - 1) / per_line | 1) * per_line;
  }
  int64_t tile_size() const {
    const int64_t row_bytes = scratch_stride() * kTaps * static_cast<int64_t>(sizeof(T));
    return std::clamp<int64_t>(kScratchBytes / row_bytes, 8, 256);
  }

  void gather_tile(const std::vector<Place<kTaps>>& places, T* __restrict scratch) const {
    constexpr int64_t kPlanes = 8;
    const int64_t size = static_cast<int64_t>(places.size()), stride = scratch_stride();
    std::vector<int64_t> offsets, lines;
    for (int k = 0; k < kTaps; ++k)
      for (const Place<kTaps>& place : places) {
        offsets.push_back(place.offsets[k]);
        const bool is_near = !lines.empty() && std::abs(offsets.back() - lines.back()) < kLine / int64_t{sizeof(T)};
        if (!is_near) lines.push_back(offsets.back());
      }
    int64_t c = 0;
    for (; c + kPlanes <= state.C; c += kPlanes) {
      const T* plane = maps.data + c * maps.channel_stride;
      if (c + 2 * kPlanes <= state.C)
        for (const int64_t line : lines)
          for (int64_t p = kPlanes; p < 2 * kPlanes; ++p)
            __builtin_prefetch(plane + p * maps.channel_stride + line, 0, 2);
      for (int64_t k = 0; k < size * kTaps; ++k)
        for (int64_t p = 0; p < kPlanes; ++p) scratch[k * stride + c + p] = plane[offsets[k] + p * maps.channel_stride];
    }
    for (; c < state.C; ++c) {
      const T* plane = maps.data + c * maps.channel_stride;
      for (int64_t k = 0; k < size * kTaps; ++k) scratch[k * stride + c] = plane[offsets[k]];
    }
  }

  // Adds the sightings order[0] ... order[count - 1].
  void add_tile(const int64_t* order, int64_t count, T* scratch) const {
    std::vector<Place<kTaps>> places;
    for (int64_t k = 0; k < count; ++k) places.push_back(place(order[k]));
    gather_tile(places, scratch);
    const auto gathered = [&](int64_t k) {
      Row<T, kTaps> row{{}, places[k].share_u, places[k].share_v};
      for (int tap = 0; tap < kTaps; ++tap) row.taps[tap] = scratch + (tap * count + k) * scratch_stride();
      return update(order[k], row);
    };
    for (int64_t k = 0; k < count; ++k) add(order[k], gathered(k), gathered(std::min(k + 1, count - 1)));
  }

  // Row by row of the map, and from left to right in each.
  std::vector<int64_t> pixel_order(int64_t begin, int64_t end) const {
    std::vector<int64_t> row, column;
    for (int64_t e = begin; e < end; ++e) {
      row.push_back(sampling.v.at(sightings.uv[2 * e + 1]).first);
      column.push_back(sampling.u.at(sightings.uv[2 * e]).first);
    }
    Grouping by_row = group_rows(row.data(), end - begin, maps.height);
    for (int64_t y = 0; y < maps.height; ++y)
      std::stable_sort(by_row.rows.begin() + by_row.offsets[y], by_row.rows.begin() + by_row.offsets[y + 1],
                       [&](int64_t a, int64_t b) { return column[a] < column[b]; });
    for (int64_t& e : by_row.rows) e += begin;
    return by_row.rows;
  }

  void add_view(int64_t begin, int64_t end) const {
    if (begin == end) return;
    if (maps.channel_stride == 1 || state.C <= 1) {
      const auto some = [&](int64_t first, int64_t last) { add_rows(first, last); };
      return torch::stable::parallel_for(begin, end, rows_per_thread(state.C), some);
    }
    const std::vector<int64_t> order = pixel_order(begin, end);
    const int64_t size = tile_size(), tiles = (end - begin + size - 1) / size;
    torch::stable::parallel_for(0, tiles, 1, [&](int64_t first, int64_t last) {
      std::vector<T> scratch(size * kTaps * scratch_stride());
      for (int64_t tile = first; tile < last; ++tile)
        add_tile(order.data() + tile * size, std::min(size, end - begin - tile * size), scratch.data());
    });
  }
};

template <int kTaps, typename T>
void add_views(const FusionState& state, Maps<T> maps, const Sightings& sightings, const Sampling& sampling,
               int64_t V) {
  const T* data = maps.data;
  for (int64_t v = 0; v < V; ++v) {
    maps.data = data + v * maps.view_stride;
    ViewFusion<T, kTaps>{state, maps, sightings, sampling}.add_view(sightings.offsets[v], sightings.offsets[v + 1]);
  }
}

void fuse_views(const std::vector<Tensor>& state, const Tensor& maps, const std::vector<Tensor>& sightings,
                const std::optional<Tensor>& weights, const std::vector<int64_t>& image_size, bool bilinear) {
  check_sightings(sightings, weights, maps.size(0));
  check_maps(maps, image_size, sightings[0].size(0));
  check_state(state, maps.size(3));
  const std::vector<Tensor> held = held_contiguous(sightings, weights);
  const Sightings seen = sightings_of(held);
  const FusionState sums = state_of(state);
  const Sampling sampling = sampling_of(maps, image_size, bilinear);
  check_values(seen, sampling, sums.N, maps.size(0));
  with_floating_dtype(maps.scalar_type(), "fuse_views", [&](auto zero) {
    using T = decltype(zero);
    if (bilinear)
      add_views<4>(sums, maps_of<T>(maps), seen, sampling, maps.size(0));
    else
      add_views<1>(sums, maps_of<T>(maps), seen, sampling, maps.size(0));
  });
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("fuse_views", TORCH_BOX(&geoguide3d::cpu::fuse_views));
}
