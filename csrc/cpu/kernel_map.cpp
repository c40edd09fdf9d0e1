#include "../kernel_map.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "radix_sort.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;
using torch::stable::parallel_for;

constexpr int64_t kBlock = 1 << 12;  // of cells, a thread's share

Corners corners_of(const int64_t* cells, int64_t M) {
  Corners corners;
  for (int axis = 0; axis < 4; ++axis) corners.low.at[axis] = corners.high.at[axis] = cells[axis];
  for (int64_t m = 0; m < M; ++m)
    for (int axis = 0; axis < 4; ++axis) {
      const int64_t value = cells[4 * m + axis];
      corners.low.at[axis] = std::min(corners.low.at[axis], value);
      corners.high.at[axis] = std::max(corners.high.at[axis], value);
    }
  return corners;
}

// A cell, or an output and the cell that it reads by a tap.
struct Entry {
  int64_t key;
  int32_t row, tap;
};

void sort_entries(Buffer<Entry>& entries, int64_t count, const Box& box) {
  const auto less = [](const Entry& a, const Entry& b) { return a.key < b.key; };
  if (!std::is_sorted(entries.get(), entries.get() + count, less))  // cells of voxel_hash are
    radix_sort(entries, count, box.bits(), [](const Entry& entry) { return static_cast<uint64_t>(entry.key); });
}

void fill_none(int32_t* table, int64_t count) {
  parallel_for(0, count, 1 << 18, [&](int64_t first, int64_t last) { std::fill(table + first, table + last, -1); });
}

// Along z the cells that a row of taps reads are consecutive keys, so one walk through the sorted keys serves them all.
// Half of the taps are looked up; what reads a cell by one tap is read by it through the opposite one.
struct Walk {
  const Entry* entries;
  int64_t M, taps, size, tap;  // `taps` of them, from number `tap` on
  int64_t distance;            // from a cell's key to that of its first tap, negative
  int32_t* table;              // (size, M)

  void operator()(int64_t first, int64_t last) const {
    const auto key_at = [&](int64_t i) { return entries[i].key + distance; };  // negative before the grid's first cell
    const auto below = [](const Entry& entry, int64_t key) { return entry.key < key; };
    int64_t other = std::lower_bound(entries, entries + M, key_at(first), below) - entries;
    for (int64_t i = first; i < last; ++i) {
      const int64_t key = key_at(i), row = entries[i].row;
      while (entries[other].key < key) ++other;  // stops at the cell itself at the latest
      for (int64_t o = other; entries[o].key < key + taps; ++o) {
        const int64_t t = tap + entries[o].key - key;
        table[t * M + row] = entries[o].row;
        table[(size - 1 - t) * M + entries[o].row] = static_cast<int32_t>(row);
      }
    }
  }
};

Tensor submanifold_map(const Tensor& cells, int64_t kernel_size) {
  check_cells(cells);
  check_kernel_size(kernel_size);
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), size = kernel_size * kernel_size * kernel_size, reach = kernel_size / 2;
  const Tensor neighbours = new_empty(c, {size, M}, ScalarType::Int);
  if (M == 0) return neighbours;
  const int64_t* data = c.const_data_ptr<int64_t>();
  const Box box(corners_of(data, M), reach);
  Buffer<Entry> entries = make_buffer<Entry>(M);
  parallel_for(0, M, kBlock, [&](int64_t first, int64_t last) {
    for (int64_t m = first; m < last; ++m) {
      const int64_t* cell = data + 4 * m;
      entries[m] = {box.key({cell[0], cell[1], cell[2], cell[3]}), static_cast<int32_t>(m), 0};
    }
  });
  sort_entries(entries, M, box);
  for (int64_t i = 1; i < M; ++i) check_once(entries[i - 1].key != entries[i].key, data + 4 * entries[i].row);
  int32_t* table = neighbours.mutable_data_ptr<int32_t>();
  fill_none(table, size * M);
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

// All meetings of outputs and cells, cell by cell.
struct Meetings {
  Buffer<Entry> entries;
  int64_t count;
};

Meetings find_meetings(const int64_t* cells, int64_t M, const Window& window, const Box& box) {
  const int64_t blocks = (M + kBlock - 1) / kBlock;
  std::vector<int64_t> offsets(blocks + 1);
  parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      for (int64_t m = block * kBlock; m < std::min(M, (block + 1) * kBlock); ++m)
        window.for_outputs(cells + 4 * m, [&](const Cell&, int64_t) { ++offsets[block + 1]; });
  });
  for (int64_t block = 0; block < blocks; ++block) offsets[block + 1] += offsets[block];
  Meetings meetings{make_buffer<Entry>(offsets[blocks]), offsets[blocks]};
  parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      Entry* next = meetings.entries.get() + offsets[block];
      for (int64_t m = block * kBlock; m < std::min(M, (block + 1) * kBlock); ++m)
        window.for_outputs(cells + 4 * m, [&](const Cell& output, int64_t tap) {
          *next++ = {box.key(output), static_cast<int32_t>(m), static_cast<int32_t>(tap)};
        });
    }
  });
  return meetings;
}

std::tuple<Tensor, Tensor, Tensor> strided_map(const Tensor& cells, int64_t kernel_size, int64_t stride,
                                               int64_t padding) {
  check_cells(cells);
  const Window window{kernel_size, stride, padding};
  window.check();
  const Tensor c = torch::stable::contiguous(cells);
  const int64_t M = c.size(0), K = window.taps();
  const int64_t* data = c.const_data_ptr<int64_t>();
  const Box box(M > 0 ? window.outputs(corners_of(data, M)) : Corners{});
  Meetings meetings = find_meetings(data, M, window, box);
  sort_entries(meetings.entries, meetings.count, box);
  const Entry* entries = meetings.entries.get();
  const auto is_new = [&](int64_t i) { return i == 0 || entries[i].key != entries[i - 1].key; };
  int64_t P = 0;
  for (int64_t i = 0; i < meetings.count; ++i) P += is_new(i);
  check_outputs(P);
  const Tensor coarse = new_empty(c, {P, 4}), children = new_empty(c, {K, P}, ScalarType::Int),
               parents = new_empty(c, {K, M}, ScalarType::Int);
  auto* output = reinterpret_cast<Cell*>(coarse.mutable_data_ptr<int64_t>());
  int32_t *child = children.mutable_data_ptr<int32_t>(), *parent = parents.mutable_data_ptr<int32_t>();
  fill_none(child, K * P);
  fill_none(parent, K * M);
  int64_t p = -1;
  for (int64_t i = 0; i < meetings.count; ++i) {
    const Entry& entry = entries[i];
    if (is_new(i)) output[++p] = box.cell(entry.key);
    check_once(child[entry.tap * P + p] < 0, data + 4 * entry.row);
    child[entry.tap * P + p] = entry.row;
    parent[entry.tap * M + entry.row] = static_cast<int32_t>(p);
  }
  return {coarse, children, parents};
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("submanifold_map", TORCH_BOX(&geoguide3d::cpu::submanifold_map));
  m.impl("strided_map", TORCH_BOX(&geoguide3d::cpu::strided_map));
}
