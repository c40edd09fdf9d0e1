// Errors in values, which only a kernel reads: ids, offsets, coordinates. Shapes and dtypes were checked in Python, and
// STD_TORCH_CHECK says so again to those who call torch.ops without.
#pragma once
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
}  // namespace geoguide3d::cpu
