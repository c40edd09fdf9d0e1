#include "../voxel_hash.h"

#include <torch/csrc/stable/library.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "check_value.h"
#include "radix_sort.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;
using torch::stable::parallel_for;

constexpr int64_t kPointsPerThread = 1 << 14;  // fewer are not worth one
constexpr int64_t kBlock = 1 << 14;            // of points, whose cells are counted together

// The bits of a key: x above y above z, as many as the extent of each axis needs.
struct Layout {
  std::array<double, 3> least;  // cell
  std::array<int, 3> bits;

  int key_bits() const { return bits[0] + bits[1] + bits[2]; }
  void unpack(uint64_t key, int64_t* cell) const {
    for (int axis = 2; axis >= 0; --axis) {
      cell[axis] = static_cast<int64_t>(key & ((uint64_t{1} << bits[axis]) - 1));
      key >>= bits[axis];
    }
  }
};

// Least and greatest coordinate of each axis, eight rows side by side to fill vector registers. NaN is passed over,
// unless it comes first; pack_keys finds it.
template <typename T>
struct Bounds {
  static constexpr int64_t kLanes = 24;
  T low[kLanes], high[kLanes];

  Bounds(const T* values, int64_t count) {
    for (int64_t lane = 0; lane < kLanes; ++lane) low[lane] = high[lane] = values[lane % 3];
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) take(lane, values[i + lane]);
    for (; i < count; ++i) take(i % kLanes, values[i]);
  }
  void take(int64_t lane, T value) {
    low[lane] = value < low[lane] ? value : low[lane];
    high[lane] = value > high[lane] ? value : high[lane];
  }
};

template <typename T>
Layout find_layout(const T* points, int64_t N, double voxel_size) {
  const int64_t blocks = (N + kBlock - 1) / kBlock;
  std::vector<Bounds<T>> bounds(blocks, Bounds<T>(points, 3));
  parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      bounds[block] = Bounds<T>(points + 3 * block * kBlock, 3 * std::min(kBlock, N - block * kBlock));
  });
  Bounds<T>& all = bounds[0];
  for (const Bounds<T>& other : bounds)
    for (int64_t lane = 0; lane < Bounds<T>::kLanes; ++lane)
      for (const T value : {other.low[lane], other.high[lane]}) all.take(lane % 3, value);
  for (int64_t lane = 3; lane < Bounds<T>::kLanes; ++lane)
    for (const T value : {all.low[lane], all.high[lane]}) all.take(lane % 3, value);
  Layout layout;
  for (int axis = 0; axis < 3; ++axis) {
    layout.least[axis] = std::floor(all.low[axis] / voxel_size);
    const double extent = std::floor(all.high[axis] / voxel_size) - layout.least[axis] + 1;
    check_value(extent <= kMostCells, extent, " cells along an axis, at most ", kMostCells, " fit");
    layout.bits[axis] = std::bit_width(static_cast<uint64_t>(extent) - 1);
  }
  return layout;
}

// A key and the row it belongs to in one word, where both fit.
struct Narrow {
  using Entry = uint64_t;
  int row_bits;

  Entry entry(uint64_t key, int64_t row) const { return key << row_bits | static_cast<uint64_t>(row); }
  uint64_t key(Entry entry) const { return entry >> row_bits; }
  int64_t row(Entry entry) const { return static_cast<int64_t>(entry & ((uint64_t{1} << row_bits) - 1)); }
};

struct Wide {
  struct Entry {
    uint64_t key;
    int64_t row;
  };

  Entry entry(uint64_t key, int64_t row) const { return {key, row}; }
  uint64_t key(Entry entry) const { return entry.key; }
  int64_t row(Entry entry) const { return entry.row; }
};

template <typename T, typename Form>
Buffer<typename Form::Entry> pack(const T* points, int64_t N, double voxel_size, const Layout& layout, Form form) {
  Buffer<typename Form::Entry> entries = make_buffer<typename Form::Entry>(N);
  std::vector<char> finite((N + kBlock - 1) / kBlock);
  parallel_for(0, finite.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      bool all_finite = true;
      for (int64_t n = block * kBlock; n < std::min(N, (block + 1) * kBlock); ++n) {
        uint64_t key = 0;
        for (int axis = 0; axis < 3; ++axis) {
          const double cell = std::floor(points[3 * n + axis] / voxel_size) - layout.least[axis];
          all_finite &= cell >= 0;
          key = key << layout.bits[axis] | static_cast<uint32_t>(cell >= 0 ? static_cast<int32_t>(cell) : 0);
        }
        entries[n] = form.entry(key, n);
      }
      finite[block] = all_finite;
    }
  });
  for (const bool block : finite) check_value(block, "points must be finite");
  return entries;
}

// Positions of sorted entries in blocks of fixed size, and how many new keys come before each.
template <typename Form>
std::vector<int64_t> count_new_keys(const Buffer<typename Form::Entry>& sorted, int64_t N, Form form) {
  std::vector<int64_t> before((N + kBlock - 1) / kBlock + 1);
  parallel_for(0, before.size() - 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (int64_t i = std::max<int64_t>(1, block * kBlock); i < std::min(N, (block + 1) * kBlock); ++i)
        before[block + 1] += form.key(sorted[i]) != form.key(sorted[i - 1]);
  });
  ++before[1];  // the very first key
  for (size_t block = 1; block < before.size(); ++block) before[block] += before[block - 1];
  return before;
}

struct Grid {
  Tensor cells, point_of_voxel, voxel_of_point;

  Grid(const Tensor& points, int64_t M)
      : cells(new_empty(points, {M, 3}, ScalarType::Long)),
        point_of_voxel(new_empty(points, {M}, ScalarType::Long)),
        voxel_of_point(new_empty(points, {points.size(0)}, ScalarType::Long)) {}
};

template <typename Form>
void write_grid(const Buffer<typename Form::Entry>& sorted, const std::vector<int64_t>& before, const Layout& layout,
                Form form, const Grid& grid) {
  int64_t* cells = grid.cells.mutable_data_ptr<int64_t>();
  int64_t* point_of_voxel = grid.point_of_voxel.mutable_data_ptr<int64_t>();
  int64_t* voxel_of_point = grid.voxel_of_point.mutable_data_ptr<int64_t>();
  const int64_t N = grid.voxel_of_point.size(0);
  parallel_for(0, before.size() - 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      int64_t voxel = before[block] - 1;
      for (int64_t i = block * kBlock; i < std::min(N, (block + 1) * kBlock); ++i) {
        const uint64_t key = form.key(sorted[i]);
        const int64_t row = form.row(sorted[i]);
        if (i == 0 || key != form.key(sorted[i - 1])) {
          ++voxel;
          layout.unpack(key, cells + 3 * voxel);
          point_of_voxel[voxel] = row;
        }
        voxel_of_point[row] = voxel;
      }
    }
  });
}

std::tuple<Tensor, Tensor, Tensor> voxel_hash(const Tensor& points, double voxel_size) {
  check_cloud(points, voxel_size);
  const Tensor p = torch::stable::contiguous(points);
  const int64_t N = p.size(0);
  Grid grid(p, 0);
  if (N == 0) return {grid.cells, grid.point_of_voxel, grid.voxel_of_point};
  with_accumulator_dtype(p.scalar_type(), "voxel_hash", [&](auto zero) {
    const auto* data = p.const_data_ptr<decltype(zero)>();
    const Layout layout = find_layout(data, N, voxel_size);
    const auto sort_and_write = [&](auto form) {
      auto entries = pack(data, N, voxel_size, layout, form);
      radix_sort(entries, N, layout.key_bits(), [form](const auto& entry) { return form.key(entry); });
      const std::vector<int64_t> before = count_new_keys(entries, N, form);
      grid = Grid(p, before.back());
      write_grid(entries, before, layout, form, grid);
    };
    const int row_bits = std::bit_width(static_cast<uint64_t>(N) - 1);
    layout.key_bits() + row_bits <= 64 ? sort_and_write(Narrow{row_bits}) : sort_and_write(Wide{});
  });
  return {grid.cells, grid.point_of_voxel, grid.voxel_of_point};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("voxel_hash", TORCH_BOX(&geoguide3d::cpu::voxel_hash));
}
