// Errors in values, which only a kernel reads: ids, offsets, coordinates. Shapes and dtypes were checked in Python, and
// STD_TORCH_CHECK says so again to those who call torch.ops without.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <atomic>
#include <cstdint>
#include <sstream>
#include <stdexcept>

namespace geoguide3d::cpu {

// Throws what Python sees as ValueError, unless `valid`. Not from a thread of parallel_for, which keeps the message and
// loses the type.
template <typename... Parts>
void check_value(bool valid, const Parts&... parts) {
  if (valid) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

// Throws, with the first offender, unless all of (rows, columns) ids are in [least, limit).
template <typename Id>
void check_range(const Id* ids, int64_t rows, int64_t columns, int64_t limit, const char* name, int64_t least = 0) {
  const auto is_inside = [=](Id id) {
    return static_cast<uint64_t>(id) - static_cast<uint64_t>(least) < static_cast<uint64_t>(limit - least);
  };
  std::atomic<bool> outside{false};
  torch::stable::parallel_for(0, rows * columns, 32768, [&](int64_t begin, int64_t end) {
    bool inside = true;  // no early exit, so that the loop vectorises
    for (int64_t i = begin; i < end; ++i) inside &= is_inside(ids[i]);
    if (!inside) outside = true;
  });
  if (!outside) return;
  int64_t i = 0;
  while (is_inside(ids[i])) ++i;
  std::ostringstream place;
  place << i / columns;
  if (columns > 1) place << ", " << i % columns;
  check_value(false, name, "[", place.str(), "] = ", ids[i], " is outside [", least, ", ", limit, ")");
}
}  // namespace geoguide3d::cpu
