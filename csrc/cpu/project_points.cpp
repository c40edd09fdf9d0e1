#include "../project_points.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <bit>
#include <tuple>
#include <vector>

#include "frustum.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

constexpr int64_t kWords = kChunk / 64;

// Sets the bits of the points that the view sees and returns how many they are.
template <typename D>
int64_t decide(const View<D>& view, const Chunk& chunk, uint64_t* bits) {
  const double border = view.test.border;
  const Window window{border, view.width - border - 1, border, view.height - border - 1};
  int32_t found[kChunk];
  const int32_t candidates = find_candidates(view.matrix, window, chunk, found);
  // All pixels are under way before the first is needed, because each is a new place for the hardware's prefetcher.
  int64_t pixel[kChunk];
  for (int32_t k = 0; k < candidates; ++k) {
    const int32_t i = found[k];
    pixel[k] = view.pixel_of(chunk.project(view.matrix, i));
    if (view.depth != nullptr) __builtin_prefetch(view.depth + std::max<int64_t>(pixel[k], 0), 0, 2);
  }
  std::fill_n(bits, kWords, uint64_t{0});
  int64_t count = 0;
  for (int32_t k = 0; k < candidates; ++k) {
    const int32_t i = found[k];
    const ImagePoint p = chunk.project(view.matrix, i);
    const bool seen = pixel[k] >= 0 && view.agrees(pixel[k], p.z);
    bits[i / 64] |= static_cast<uint64_t>(seen) << (i % 64);
    count += seen;
  }
  return count;
}

// What the views see: bits (V, chunks, kWords), and where the points of each view and chunk begin in the output.
struct Seen {
  std::vector<uint64_t> bits;
  std::vector<int64_t> begin;  // (V * chunks + 1,)
};

template <typename T, typename D>
Seen find_seen(const T* points, int64_t N, const Views<D>& views) {
  const int64_t chunks = chunk_count(N);
  Seen seen{std::vector<uint64_t>(views.V * chunks * kWords), std::vector<int64_t>(views.V * chunks + 1)};
  torch::stable::parallel_for(0, views.V * chunks, 32, [&](int64_t first, int64_t last) {
    Chunk chunk;
    for (int64_t place = first; place < last; ++place) {  // view by view, so that one depth map stays in the cache
      const int64_t c = place % chunks;
      chunk.load(points, c, N);
      seen.begin[place + 1] = decide(views[place / chunks], chunk, seen.bits.data() + place * kWords);
    }
  });
  for (size_t place = 1; place < seen.begin.size(); ++place) seen.begin[place] += seen.begin[place - 1];
  return seen;
}

// Columns of the output.
struct Rows {
  int64_t* point_ids;
  double* uv;
  float* depth;
};

template <typename T>
void write_seen(const T* points, int64_t N, const double* matrices, const Seen& seen, const Rows& rows) {
  const int64_t chunks = chunk_count(N), places = static_cast<int64_t>(seen.begin.size()) - 1;
  torch::stable::parallel_for(0, places, 64, [&](int64_t first, int64_t last) {
    for (int64_t place = first; place < last; ++place) {
      const double* matrix = matrices + place / chunks * 12;
      int64_t row = seen.begin[place];
      for (int64_t word = 0; word < kWords; ++word) {
        for (uint64_t bits = seen.bits[place * kWords + word]; bits != 0; bits &= bits - 1) {
          const int64_t n = place % chunks * kChunk + word * 64 + std::countr_zero(bits);
          const ImagePoint p = project(matrix, points + 3 * n);
          rows.point_ids[row] = n;
          rows.uv[2 * row] = p.uz / p.z;
          rows.uv[2 * row + 1] = p.vz / p.z;
          rows.depth[row] = static_cast<float>(p.z);
          ++row;
        }
      }
    }
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> project_points(const Tensor& points, const Tensor& image_from_world,
                                                          const Tensor& sizes, const std::optional<Tensor>& depth_maps,
                                                          const std::vector<double>& tolerances, int64_t border_px) {
  check_points(points);
  check_views(image_from_world, sizes, depth_maps, tolerances);
  const int64_t N = points.size(0), V = image_from_world.size(0);
  const Tensor p = torch::stable::contiguous(points), matrices = torch::stable::contiguous(image_from_world);
  const Tensor s = torch::stable::contiguous(sizes);
  std::optional<Tensor> maps;
  if (depth_maps) maps = torch::stable::contiguous(*depth_maps);
  const VisibilityTest test{tolerances[0], tolerances[1], static_cast<double>(border_px)};
  const Tensor offsets = torch::stable::new_zeros(s, {V + 1});
  const auto outputs = [&](int64_t E) {
    return std::tuple{offsets, new_empty(s, {E}), new_empty(matrices, {E, 2}),
                      new_empty(matrices, {E}, ScalarType::Float)};
  };
  if (N == 0 || V == 0) return outputs(0);

  Seen seen;
  with_accumulator_dtype(p.scalar_type(), "project_points", [&](auto zero) {
    using T = decltype(zero);
    with_accumulator_dtype(maps ? maps->scalar_type() : ScalarType::Float, "project_points", [&](auto depth_zero) {
      using D = decltype(depth_zero);
      seen = find_seen(p.const_data_ptr<T>(), N, views_of<D>(matrices, s, maps, test));
    });
  });
  const int64_t chunks = chunk_count(N);
  for (int64_t v = 0; v <= V; ++v) offsets.mutable_data_ptr<int64_t>()[v] = seen.begin[v * chunks];
  const auto out = outputs(seen.begin.back());
  const Rows rows{std::get<1>(out).mutable_data_ptr<int64_t>(), std::get<2>(out).mutable_data_ptr<double>(),
                  std::get<3>(out).mutable_data_ptr<float>()};
  with_accumulator_dtype(p.scalar_type(), "project_points", [&](auto zero) {
    using T = decltype(zero);
    write_seen(p.const_data_ptr<T>(), N, matrices.const_data_ptr<double>(), seen, rows);
  });
  return out;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("project_points", TORCH_BOX(&geoguide3d::cpu::project_points));
}
