// Work cut into items of fixed size whose results do not depend on the number of threads.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace geoguide3d::cpu {

// Uninitialised buffers that a thread keeps from item to item.
template <typename A, int kSlots>
class Scratch {
 public:
  A* operator()(int slot, int64_t count) {
    if (size_[slot] < count) {
      data_[slot].reset(new A[count]);
      size_[slot] = count;
    }
    return data_[slot].get();
  }

 private:
  std::array<std::unique_ptr<A[]>, kSlots> data_;
  std::array<int64_t, kSlots> size_{};
};

// Calls body(item, scratch) for item < count; each thread takes the next item that nobody has taken. There are two
// workers at least: in a parallel region torch's matrix product takes one thread, so that it adds up in one order
// however many threads there are.
template <typename A, int kSlots, typename Body>
void for_each_item(int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::max<int64_t>(2, std::min<int64_t>(torch::stable::get_num_threads(), count));
  torch::stable::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    Scratch<A, kSlots> scratch;
    for (int64_t item = next++; item < count; item = next++) body(item, scratch);
  });
}
}  // namespace geoguide3d::cpu
