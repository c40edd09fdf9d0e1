// The length that rows are divided by.
#pragma once

namespace geoguide3d {
// Rows shorter than this are divided by it, as torch.nn.CosineSimilarity does; a row of zeros stays zero.
constexpr double kShortestRow = 1e-8;
}  // namespace geoguide3d
