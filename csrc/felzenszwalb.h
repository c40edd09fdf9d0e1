// Contract of the superpoint ops, shared by csrc/cpu, csrc/cuda and the references in geoguide3d/ops/felzenszwalb.py.
// The algorithm is Felzenszwalb and Huttenlocher's (2004) with the edge weights of ScanNet's segmentator.
//
//     vertices, points  (N, 3)  float32, one unit for all axes
//     normals           (N, 3)  float32
//     faces             (F, 3)  int64, 0 <= faces[f, i] < N
//     edges             (E, 2)  int64, 0 <= edges[e, i] < N
//     weights           (E,)    float32
//     labels            (N,)    int64
//
//   edge_weights(points, normals, edges) -> weights (E,)
//     Of the edge (a, b), with n the normals, p the points and d = (p_b - p_a) / |p_b - p_a|:
//     w = 1 - n_a . n_b, and its square where the surface is convex, n_b . d > 0. NaN where a normal is NaN.
//   mesh_edges(vertices, faces) -> (edges (3F, 2), weights (3F,))
//     The edges of face (a, b, c) are (a, b), (a, c) and (c, b), faces in their order, weighted as above. The normal of
//     a vertex is the running mean of the unit normals of its faces in their order, n <- (1 - t) n + t m with
//     t = 1 / (faces so far + 1), and is not made a unit vector again. A face without area in float32 (or with a
//     coordinate that is not finite) has no normal: it changes that of no vertex, and its edges weigh NaN.
//   felzenszwalb(edges, weights, N, k, min_size) -> labels (N,)
//     Takes the edges by ascending weight, equal ones in their order, and joins the two components of an edge where
//     w <= t of both; then t of the new one is w + k / size. t of a single point is k. A second walk over the edges, in
//     the same order, joins two components where one has fewer than min_size points. Labels are 0, 1, ... in the order
//     of each component's first point. Edges of weight NaN do not exist. k is finite and not negative, min_size >= 0.
//
//   All arithmetic is float32 in the order written, each operation rounded by itself (never fused multiply-add), so
//   that both devices, the references and the original give the same bits, and with them the same partitions.
//   Results are deterministic and do not depend on the number of threads.
//   On CUDA, mesh_edges and edge_weights run on the device, and felzenszwalb sorts there; joining is sequential by
//   nature and runs on the host, so felzenszwalb copies the sorted edges (12 bytes each) to the host, waits for them,
//   and copies the labels back.
//   N, F and E of 0 are valid. N must be below 2^31 (points are numbered in 32 bits inside), F and E are not limited.
//   An id outside [0, N) is an error: an exception on the CPU, a device-side assertion on CUDA.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "dtypes.h"

namespace geoguide3d {
using torch::stable::Tensor;

inline void check_count(int64_t N) {
  STD_TORCH_CHECK(0 <= N && N <= std::numeric_limits<int32_t>::max(), "there must be 0 to 2^31 - 1 points, got ", N);
}

inline void check_vectors(const Tensor& vectors, const char* name) {
  STD_TORCH_CHECK(vectors.dim() == 2 && vectors.size(1) == 3, name, " must be (N, 3)");
  STD_TORCH_CHECK(vectors.scalar_type() == ScalarType::Float, name, " must be float32");
  check_count(vectors.size(0));
}

inline void check_ids(const Tensor& ids, int64_t columns, const char* name) {
  STD_TORCH_CHECK(ids.dim() == 2 && ids.size(1) == columns, name, " must have ", columns, " columns");
  STD_TORCH_CHECK(ids.scalar_type() == ScalarType::Long, name, " must be int64");
}

inline void check_graph(const Tensor& edges, const Tensor& weights) {
  check_ids(edges, 2, "edges");
  STD_TORCH_CHECK(weights.dim() == 1 && weights.size(0) == edges.size(0), "weights must be (", edges.size(0), ",)");
  STD_TORCH_CHECK(weights.scalar_type() == ScalarType::Float, "weights must be float32");
}

inline void check_parameters(int64_t N, double k, int64_t min_size) {
  check_count(N);
  STD_TORCH_CHECK(std::isfinite(k) && k >= 0, "k must be finite and not negative, got ", k);
  STD_TORCH_CHECK(min_size >= 0, "min_size must not be negative, got ", min_size);
}
}  // namespace geoguide3d
