// log(1 + e^u) and its derivative 1 / (1 + e^-u), in a form that compilers vectorise (calls of libm they leave scalar).
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace geoguide3d::cpu {

template <typename A>
struct Softplus {
  A value, slope;
};

// exp(-a) for 0 <= a, at most 2 units in the last place off; below e^-87 it stays at e^-87 = 1.6e-38. NaN gives NaN.
// The limit is taken in bits, because GCC makes a branch of a limit on floats, and leaves loops scalar.
inline float exp_of_negative(float a) {
  constexpr float kLimit = 87.0f, kRound = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
  const int32_t bits = std::bit_cast<int32_t>(a);
  const float limited = std::bit_cast<float>(std::min(bits, std::bit_cast<int32_t>(kLimit)));
  const uint32_t nan = static_cast<uint32_t>((0x7f800000 - bits) >> 31);  // all ones where a is NaN
  const float rounded = limited * -1.44269504f + kRound, n = rounded - kRound;
  const float r = (-limited - n * 0.693359375f) + n * 2.12194440e-4f;  // -a - n log(2), |r| <= log(2) / 2
  float q = 1.3814610429e-3f;                                          // minimax, 3e-9 of e^r
  q = q * r + 8.3687100559e-3f;
  q = q * r + 4.1668388993e-2f;
  q = q * r + 1.6666521132e-1f;
  q = q * r + 4.9999994040e-1f;
  const float power = 1.0f + (r + r * r * q);
  return std::bit_cast<float>((std::bit_cast<uint32_t>(power) + (std::bit_cast<uint32_t>(rounded) << 23)) | nan);
}

// Both are within 4e-7 of themselves (slope above e^-87), for every u; NaN gives NaN. Choices by the sign are made in
// bits: from two conditions on one u GCC makes a branch, and leaves the loop scalar.
inline Softplus<float> softplus(float u) {
  const float e = exp_of_negative(std::fabs(u));
  const float both = 1.0f / ((1.0f + e) * (2.0f + e));  // one division for two
  const float s = e * both * (1.0f + e), w = s * s;     // log(1 + e) = 2 atanh(s), s = e / (2 + e)
  float p = 1.4005996287e-1f;                           // minimax, 5e-9 of the logarithm
  p = p * w + 1.4000901580e-1f;
  p = p * w + 2.0010763407e-1f;
  p = p * w + 3.3333209157e-1f;
  const float logarithm = 2.0f * (s + s * w * p);
  const uint32_t bits = std::bit_cast<uint32_t>(u), negative = 0u - (bits >> 31), one = std::bit_cast<uint32_t>(1.0f);
  const float positive_part = std::bit_cast<float>(bits & ~negative);
  const float numerator = std::bit_cast<float>((std::bit_cast<uint32_t>(e) & negative) | (one & ~negative));
  return {positive_part + logarithm, numerator * (both * (2.0f + e))};
}

inline Softplus<double> softplus(double u) {
  const double e = std::exp(-std::fabs(u));
  return {(u < 0 ? 0 : u) + std::log1p(e), (u < 0 ? e : 1) / (1 + e)};
}
}  // namespace geoguide3d::cpu
