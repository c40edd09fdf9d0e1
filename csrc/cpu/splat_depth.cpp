#include "../splat_depth.h"

#include <torch/csrc/stable/library.h>

#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "frustum.h"

namespace geoguide3d::cpu {
namespace {

constexpr int64_t kBlock = 16;          // chunks of points whose drawing is kept together
constexpr int64_t kStrip = 16;          // columns: a line of the cache
constexpr int64_t kTaskPixels = 32768;  // fewer are not worth a thread

// A point on the canvas, its depth as bits.
struct Spot {
  int32_t column, row, depth;
};

// The points of one view by level and block: spots[level * blocks + block].
struct Drawing {
  std::vector<std::vector<Spot>> spots;
  int64_t blocks;
};

template <typename T>
Drawing draw_points(const T* points, int64_t N, const double* matrix, double radius_px_m, const Images& images) {
  const int64_t blocks = (chunk_count(N) + kBlock - 1) / kBlock;
  const double margin = images.levels.largest();
  const Window window{-margin, images.width + margin - 1, -margin, images.height + margin - 1};
  Drawing drawing{std::vector<std::vector<Spot>>(images.levels.count * blocks), blocks};
  torch::stable::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    Chunk chunk;
    int32_t found[kChunk];
    for (int64_t c = first * kBlock; c < std::min(last * kBlock, chunk_count(N)); ++c) {
      chunk.load(points, c, N);
      const int32_t candidates = find_candidates(matrix, window, chunk, found);
      for (int32_t k = 0; k < candidates; ++k) {
        const Drawn drawn = images.draw(chunk.project(matrix, found[k]), radius_px_m);
        if (drawn.level < 0) continue;
        drawing.spots[drawn.level * blocks + c / kBlock].push_back(
            {drawn.column, drawn.row, std::bit_cast<int32_t>(drawn.depth)});
      }
    }
  });
  return drawing;
}

// Pixels [left, right) x [top, bottom).
struct Box {
  int64_t left, right, top, bottom;

  int64_t width() const { return right - left; }
  int64_t height() const { return bottom - top; }
  bool is_empty() const { return left >= right || top >= bottom; }
  bool holds(const Spot& spot) const {
    return left <= spot.column && spot.column < right && top <= spot.row && spot.row < bottom;
  }
};

Box intersect(const Box& a, const Box& b) {
  return {std::max(a.left, b.left), std::min(a.right, b.right), std::max(a.top, b.top), std::min(a.bottom, b.bottom)};
}

template <typename Body>
void for_spots(const Drawing& drawing, int level, Body body) {
  for (int64_t block = 0; block < drawing.blocks; ++block)
    for (const Spot& spot : drawing.spots[level * drawing.blocks + block]) body(spot);
}

// The smallest box around the points of a level.
Box box_around(const Drawing& drawing, int level) {
  constexpr int64_t kFar = int64_t{1} << 40;
  Box box{kFar, -kFar, kFar, -kFar};
  for_spots(drawing, level, [&](const Spot& spot) {
    box.left = std::min<int64_t>(box.left, spot.column);
    box.right = std::max<int64_t>(box.right, spot.column + 1);
    box.top = std::min<int64_t>(box.top, spot.row);
    box.bottom = std::max<int64_t>(box.bottom, spot.row + 1);
  });
  return box;
}

struct Least {
  int32_t operator()(int32_t a, int32_t b) const { return a < b ? a : b; }
};
struct Greatest {
  int32_t operator()(int32_t a, int32_t b) const { return a < b ? b : a; }
};

template <typename Choose>
void choose_shifted(const int32_t* __restrict in, int32_t* __restrict out, int64_t length, int64_t shift) {
  for (int64_t i = 0; i < length; ++i) out[i] = Choose{}(in[i], in[i + shift]);
}

// Numbers, and a place of the same size for those made from them.
struct Line {
  std::vector<int32_t> values, other;
  int64_t length;

  void resize(int64_t count) {
    length = count;
    if (static_cast<int64_t>(values.size()) < count) values.resize(count), other.resize(count);
  }

  // values[i] becomes the chosen one of values[i], values[i + stride], ... values[i + (window - 1) stride]. Runs of 2,
  // 4, 8, ... are made from two runs each, which costs a logarithm of the window and works on whole vectors.
  template <typename Choose>
  void slide(int64_t window, int64_t stride) {
    for (int64_t covered = 1; covered < window;) {
      const int64_t step = std::min(covered, window - covered);
      length -= step * stride;
      choose_shifted<Choose>(values.data(), other.data(), length, step * stride);
      std::swap(values, other);
      covered += step;
    }
  }
};

// One level of a view on its box, which grows by the radius to the left and to the right: that much the squares spread.
class Layer {
 public:
  std::vector<int32_t> pixels;  // kept from level to level

  void draw(const Drawing& drawing, int level, const Box& around, int64_t radius_px) {
    box = around;
    radius = radius_px;
    width = box.width() + 2 * radius;
    pixels.assign(width * box.height(), kNothing);
    for_spots(drawing, level, [&](const Spot& spot) {
      if (!box.holds(spot)) return;
      int32_t& pixel = pixels[(spot.row - box.top) * width + spot.column - box.left + radius];
      pixel = std::min(pixel, spot.depth);
    });
  }

  // Each pixel takes the least of its row within the radius.
  void spread_rows() {
    torch::stable::parallel_for(0, box.height(), tasks_of(width), [&](int64_t first, int64_t last) {
      Line line;
      for (int64_t y = first; y < last; ++y) {
        line.resize(width + 2 * radius);
        std::fill_n(line.values.data(), radius, kNothing);
        std::memcpy(line.values.data() + radius, row(y), width * sizeof(int32_t));
        std::fill_n(line.values.data() + radius + width, radius, kNothing);
        line.slide<Least>(2 * radius + 1, 1);
        std::memcpy(row(y), line.values.data(), width * sizeof(int32_t));
      }
    });
  }

  // The same along columns, and then the greatest along columns.
  void close_columns() {
    const int64_t height = box.height(), strips = (width + kStrip - 1) / kStrip;
    torch::stable::parallel_for(0, strips, tasks_of(kStrip * height), [&](int64_t first, int64_t last) {
      Line line;
      for (int64_t left = first * kStrip; left < std::min(last * kStrip, width); left += kStrip) {
        const int64_t columns = std::min(kStrip, width - left), beyond = 2 * radius * columns;
        line.resize(columns * height + 2 * beyond);
        std::fill_n(line.values.data(), beyond, kNothing);
        for (int64_t y = 0; y < height; ++y)
          std::memcpy(line.values.data() + beyond + y * columns, row(y) + left, columns * sizeof(int32_t));
        std::fill_n(line.values.data() + beyond + height * columns, beyond, kNothing);
        line.slide<Least>(2 * radius + 1, columns);
        line.slide<Greatest>(2 * radius + 1, columns);
        for (int64_t y = 0; y < height; ++y)
          std::memcpy(row(y) + left, line.values.data() + y * columns, columns * sizeof(int32_t));
      }
    });
  }

  // Each pixel takes the greatest of its row within the radius; where it is nearer than what `image` holds it goes
  // there.
  void shrink_rows_into(int32_t* image, const Box& frame) {
    const Box part = intersect(box, frame);
    torch::stable::parallel_for(part.top, part.bottom, tasks_of(width), [&](int64_t first, int64_t last) {
      Line line;
      for (int64_t y = first; y < last; ++y) {
        line.resize(width);
        std::memcpy(line.values.data(), row(y - box.top), width * sizeof(int32_t));
        line.slide<Greatest>(2 * radius + 1, 1);
        take_nearer(image + y * frame.width() + part.left, line.values.data() + part.left - box.left, part.width());
      }
    });
  }

 private:
  Box box;
  int64_t radius, width;

  int32_t* row(int64_t y) { return pixels.data() + y * width; }
  static int64_t tasks_of(int64_t pixels_each) { return std::max<int64_t>(1, kTaskPixels / pixels_each); }
  static void take_nearer(int32_t* __restrict image, const int32_t* __restrict depth, int64_t count) {
    for (int64_t i = 0; i < count; ++i) image[i] = std::min(image[i], depth[i]);
  }
};

// `image` is (H, W) bits.
void splat_view(const Drawing& drawing, const Images& images, Layer& layer, int32_t* image) {
  const Box frame{0, images.width, 0, images.height};
  std::fill_n(image, frame.width() * frame.height(), kNothing);
  for (int level = 0; level < images.levels.count; ++level) {
    const int64_t radius = images.levels.radius[level], reach = 2 * radius;  // points farther outside change nothing
    const Box seen{-reach, frame.right + reach, -reach, frame.bottom + reach};
    const Box box = intersect(box_around(drawing, level), seen);
    if (box.is_empty()) continue;
    if (radius == 0) {  // no gaps to close
      for_spots(drawing, level, [&](const Spot& spot) {
        if (!frame.holds(spot)) return;
        int32_t& pixel = image[spot.row * frame.width() + spot.column];
        pixel = std::min(pixel, spot.depth);
      });
      continue;
    }
    layer.draw(drawing, level, box, radius);
    layer.spread_rows();
    layer.close_columns();
    layer.shrink_rows_into(image, frame);
  }
  for (int64_t i = 0; i < frame.width() * frame.height(); ++i) image[i] = image[i] == kNothing ? 0 : image[i];
}

Tensor splat_depth(const Tensor& points, const Tensor& image_from_world, const Tensor& radius_px_m, int64_t height,
                   int64_t width) {
  const Images images = check_splats(points, image_from_world, radius_px_m, height, width);
  const int64_t N = points.size(0), V = image_from_world.size(0);
  const Tensor p = torch::stable::contiguous(points), matrices = torch::stable::contiguous(image_from_world);
  const Tensor radii = torch::stable::contiguous(radius_px_m);
  const Tensor depth = torch::stable::new_empty(matrices, {V, height, width}, ScalarType::Float);
  // Many views: a thread for each. Few: the threads share each view.
  const int64_t views_per_thread = V >= torch::stable::get_num_threads() ? 1 : std::max<int64_t>(V, 1);
  with_accumulator_dtype(p.scalar_type(), "splat_depth", [&](auto zero) {
    using T = decltype(zero);
    torch::stable::parallel_for(0, V, views_per_thread, [&](int64_t first, int64_t last) {
      Layer layer;
      for (int64_t v = first; v < last; ++v) {
        const Drawing drawing = draw_points(p.const_data_ptr<T>(), N, matrices.const_data_ptr<double>() + v * 12,
                                            radii.const_data_ptr<double>()[v], images);
        auto* image = reinterpret_cast<int32_t*>(depth.mutable_data_ptr<float>() + v * height * width);
        splat_view(drawing, images, layer, image);
      }
    });
  });
  return depth;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("splat_depth", TORCH_BOX(&geoguide3d::cpu::splat_depth));
}
