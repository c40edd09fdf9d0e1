// Elements of any type as floats, whole vectors at a time: compilers leave conversions from Half scalar.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../dtypes.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

namespace geoguide3d {

// out[i] = in[i] for i < count. A is float, or double where T is double.
template <typename T, typename A>
inline void convert(const T* __restrict in, A* __restrict out, int64_t count) {
  int64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, Half>)
    for (; i + 8 <= count; i += 8)
      _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
#elif defined(__ARM_FP16_FORMAT_IEEE)
  if constexpr (std::is_same_v<T, Half>) {
    const auto* halves = reinterpret_cast<const __fp16*>(in);
    for (; i < count; ++i) out[i] = static_cast<float>(halves[i]);
  }
#endif
  if constexpr (std::is_same_v<T, BFloat16>) {
    for (; i < count; ++i) {
      const uint32_t bits = static_cast<uint32_t>(in[i].x) << 16;  // the upper half of a float's
      std::memcpy(out + i, &bits, sizeof(bits));
    }
  }
  for (; i < count; ++i) out[i] = static_cast<A>(in[i]);
}
}  // namespace geoguide3d
