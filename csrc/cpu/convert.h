// Elements of any type as floats and back, whole vectors at a time: compilers leave conversions of Half scalar.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../dtypes.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

namespace geoguide3d::cpu {

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

// out[i] = factor * in[i], rounded to T (to nearest, ties to even), for i < count.
template <typename T, typename A>
inline void scale(const A* __restrict in, A factor, T* __restrict out, int64_t count) {
  int64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, Half>) {
    for (; i + 8 <= count; i += 8) {
      const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(in + i), _mm256_set1_ps(factor));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT));
    }
  }
#elif defined(__ARM_FP16_FORMAT_IEEE)
  if constexpr (std::is_same_v<T, Half>) {
    auto* halves = reinterpret_cast<__fp16*>(out);
    for (; i < count; ++i) halves[i] = static_cast<__fp16>(factor * in[i]);
  }
#endif
  if constexpr (std::is_same_v<T, BFloat16>) {
    for (; i < count; ++i) {
      const float scaled = factor * in[i];
      uint32_t bits;
      std::memcpy(&bits, &scaled, sizeof(bits));
      const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
      out[i].x = static_cast<uint16_t>(scaled == scaled ? rounded : 0x7fc0);
    }
  }
  for (; i < count; ++i) out[i] = static_cast<T>(factor * in[i]);
}
}  // namespace geoguide3d::cpu
