#include "../kernel_map.h"

#include <torch/csrc/stable/library.h>

#include <array>
#include <bit>
#include <tuple>
#include <utility>

#include "check_value.h"
#include "radix_sort.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;
using torch::stable::parallel_for;

constexpr int64_t kBlock = 1 << 12;  // of cells, a thread's share

int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

// A cell's key: its place in the box around all cells, batch above x above y above z, `reach` empty cells around.
struct Box {
  std::array<int64_t, 4> least, step;
  uint64_t size;

  Box(const int64_t* cells, int64_t M, int64_t stride, int64_t reach) {
    std::array<int64_t, 4> low, high;
    for (int axis = 0; axis < 4; ++axis) low[axis] = high[axis] = cells[axis];
    for (int64_t m = 0; m < M; ++m)
      for (int axis = 0; axis < 4; ++axis) {
        const int64_t value = cells[4 * m + axis];
        low[axis] = value < low[axis] ? value : low[axis];
        high[axis] = value > high[axis] ? value : high[axis];
      }
    for (int axis = 1; axis < 4; ++axis) {
      low[axis] = floor_divide(low[axis], stride);
      high[axis] = floor_divide(high[axis], stride);
    }
    double product = 1;  // counted first as a double, which does not overflow
    for (int axis = 0; axis < 4; ++axis)
      product *= static_cast<double>(high[axis]) - static_cast<double>(low[axis]) + 1 +
                 static_cast<double>(axis ? 2 * reach : 0);
    check_value(product < 9.2e18, "cells span a box of ", product, " cells: more than 2^63 cells");
    int64_t next = 1;
    for (int axis = 3; axis >= 0; --axis) {
      step[axis] = next;
      least[axis] = low[axis] - (axis ? reach : 0);
      next *= high[axis] - low[axis] + 1 + (axis ? 2 * reach : 0);
    }
    size = static_cast<uint64_t>(next);
  }
  int bits() const { return std::bit_width(size - 1); }
  uint64_t key(int64_t b, int64_t x, int64_t y, int64_t z) const {
    return static_cast<uint64_t>((b - least[0]) * step[0] + (x - least[1]) * step[1] + (y - least[2]) * step[2] +
                                 (z - least[3]));
  }
};

struct Entry {
  uint64_t key;
  int64_t row;
};

// Keys of the cells, or of the blocks they lie in, in ascending order.
Buffer<Entry> sorted_entries(const int64_t* cells, int64_t M, int64_t stride, const Box& box) {
  Buffer<Entry> entries = make_buffer<Entry>(M);
  parallel_for(0, M, kBlock, [&](int64_t first, int64_t last) {
    for (int64_t m = first; m < last; ++m) {
      const int64_t* c = cells + 4 * m;
      entries[m] = {stride == 1 ? box.key(c[0], c[1], c[2], c[3])
                                : box.key(c[0], floor_divide(c[1], stride), floor_divide(c[2], stride),
                                          floor_divide(c[3], stride)),
                    m};
    }
  });
  const auto less = [](const Entry& a, const Entry& b) { return a.key < b.key; };
  if (!std::is_sorted(entries.get(), entries.get() + M, less))  // cells of voxel_hash are
    radix_sort(entries, M, box.bits(), [](const Entry& entry) { return entry.key; });
  return entries;
}

void check_once(bool once, const int64_t* cell) {
  check_value(once, "cells must differ, [", cell[0], ", ", cell[1], ", ", cell[2], ", ", cell[3], "] occurs twice");
}

// Along z the cells that a row of taps reads are consecutive keys, so one walk through the sorted keys serves them all.
// Half of the taps are looked up; what reads a cell by one tap is read by it through the opposite one.
struct Walk {
  const Entry* entries;
  int64_t M, taps, size, tap;  // `taps` of them, from number `tap` on
  int64_t distance;            // from a cell's key to that of its first tap, negative
  int32_t* table;              // (size, M)

  void operator()(int64_t first, int64_t last) const {
    const auto key_at = [&](int64_t i) {  // negative beyond the grid's first cell
      return static_cast<int64_t>(entries[i].key) + distance;
    };
    const auto below = [](const Entry& entry, int64_t key) { return static_cast<int64_t>(entry.key) < key; };
    int64_t other = std::lower_bound(entries, entries + M, key_at(first), below) - entries;
    for (int64_t i = first; i < last; ++i) {
      const int64_t key = key_at(i), row = entries[i].row;
      while (static_cast<int64_t>(entries[other].key) < key) ++other;  // stops at the cell itself at the latest
      for (int64_t o = other; static_cast<int64_t>(entries[o].key) < key + taps; ++o) {
        const int64_t t = tap + static_cast<int64_t>(entries[o].key) - key;
        table[t * M + row] = static_cast<int32_t>(entries[o].row);
        table[(size - 1 - t) * M + entries[o].row] = static_cast<int32_t>(row);
      }
    }
  }
};

Tensor submanifold_map(const Tensor& cells, int64_t kernel_size) {
  check_cells(cells);
  STD_TORCH_CHECK(kernel_size > 0 && kernel_size % 2 == 1, "kernel_size must be odd, got ", kernel_size);
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), size = kernel_size * kernel_size * kernel_size, reach = kernel_size / 2;
  const Tensor neighbours = new_empty(c, {size, M}, ScalarType::Int);
  if (M == 0) return neighbours;
  const int64_t* data = c.const_data_ptr<int64_t>();
  const Box box(data, M, 1, reach);
  const Buffer<Entry> entries = sorted_entries(data, M, 1, box);
  for (int64_t i = 1; i < M; ++i) check_once(entries[i - 1].key != entries[i].key, data + 4 * entries[i].row);
  int32_t* table = neighbours.mutable_data_ptr<int32_t>();
  parallel_for(0, size * M, 1 << 18, [&](int64_t first, int64_t last) { std::fill(table + first, table + last, -1); });
  const int64_t centre = size / 2;
  for (int64_t m = 0; m < M; ++m) table[centre * M + m] = static_cast<int32_t>(m);
  for (int64_t tap = 0; tap < centre; tap += kernel_size) {
    const int64_t x = tap / kernel_size / kernel_size - reach, y = tap / kernel_size % kernel_size - reach;
    const int64_t taps = std::min(kernel_size, centre - tap);
    const Walk walk{entries.get(), M, taps, size, tap, x * box.step[1] + y * box.step[2] - reach, table};
    parallel_for(0, M, kBlock, walk);
  }
  return neighbours;
}

std::tuple<Tensor, Tensor, Tensor> strided_map(const Tensor& cells, int64_t stride) {
  check_cells(cells);
  STD_TORCH_CHECK(stride > 0, "stride must be at least 1, got ", stride);
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), size = stride * stride * stride;
  const int64_t* data = c.const_data_ptr<int64_t>();
  Buffer<Entry> entries;
  int64_t P = 0;
  if (M > 0) {
    const Box box(data, M, stride, 0);
    entries = sorted_entries(data, M, stride, box);
    for (int64_t i = 0; i < M; ++i) P += i == 0 || entries[i].key != entries[i - 1].key;
  }
  const Tensor coarse = new_empty(c, {P, 4}), children = new_empty(c, {size, P}, ScalarType::Int),
               parents = new_empty(c, {size, M}, ScalarType::Int);
  int64_t* blocks = coarse.mutable_data_ptr<int64_t>();
  int32_t *child = children.mutable_data_ptr<int32_t>(), *parent = parents.mutable_data_ptr<int32_t>();
  std::fill_n(child, size * P, -1);
  std::fill_n(parent, size * M, -1);
  int64_t p = -1;
  for (int64_t i = 0; i < M; ++i) {
    const int64_t m = entries[i].row, *cell = data + 4 * m;
    if (i == 0 || entries[i].key != entries[i - 1].key) {
      ++p;
      blocks[4 * p] = cell[0];
      for (int axis = 1; axis < 4; ++axis) blocks[4 * p + axis] = floor_divide(cell[axis], stride);
    }
    int64_t tap = 0;
    for (int axis = 1; axis < 4; ++axis) tap = tap * stride + cell[axis] - blocks[4 * p + axis] * stride;
    check_once(child[tap * P + p] < 0, cell);
    child[tap * P + p] = static_cast<int32_t>(m);
    parent[tap * M + m] = static_cast<int32_t>(p);
  }
  return {coarse, children, parents};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("submanifold_map", TORCH_BOX(&geoguide3d::cpu::submanifold_map));
  m.impl("strided_map", TORCH_BOX(&geoguide3d::cpu::strided_map));
}
