#include "../felzenszwalb.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>

#include "../components.h"
#include "grouping.cuh"
#include "launch.cuh"

namespace geoguide3d::cuda {
namespace {

using torch::stable::new_empty;
using torch::stable::accelerator::DeviceGuard;

struct Mesh {
  const float* vertices;
  const int64_t* faces;
  int64_t N, F;

  __device__ int64_t corner(int64_t f, int k) const {
    const int64_t n = faces[3 * f + k];
    assert(0 <= n && n < N && "vertex out of range");
    return n;
  }
};

__device__ Vector row(const float* rows, int64_t n) {
  return {rows[3 * n], rows[3 * n + 1], rows[3 * n + 2]};
}

__global__ void find_face_normals(Mesh mesh, Vector* normals) {
  const int64_t f = thread_number();
  if (f >= mesh.F) return;
  const Vector cross = face_cross(row(mesh.vertices, mesh.corner(f, 0)), row(mesh.vertices, mesh.corner(f, 1)),
                                  row(mesh.vertices, mesh.corner(f, 2)));
  normals[f] = face_normal(cross, root(dot(cross, cross)));
}

// Thread n walks the corners of faces at vertex n, which are in the order of the faces.
__global__ void find_vertex_normals(const Vector* face_normals, const int64_t* corners, const int64_t* offsets,
                                    Vector* normals, int64_t N) {
  const int64_t n = thread_number();
  if (n >= N) return;
  Vector normal = {0.0f, 0.0f, 0.0f};
  float faces = 0.0f;
  for (int64_t p = offsets[n]; p < offsets[n + 1]; ++p) {
    const Vector next = face_normals[corners[p] / 3];
    if (!has_area(next)) continue;
    normal = running_mean(normal, next, faces);
    faces += 1.0f;
  }
  normals[n] = normal;
}

__device__ float weigh(const float* points, const Vector* normals, int64_t a, int64_t b) {
  const Vector step = difference(row(points, b), row(points, a));
  return edge_weight(normals[a], normals[b], step, root(dot(step, step)));
}

// One thread per edge: (0, 1), (0, 2) and (2, 1) of each face's corners.
__global__ void write_face_edges(Mesh mesh, const Vector* face_normals, const Vector* normals, int64_t* edges,
                                 float* weights) {
  const int64_t e = thread_number();
  if (e >= 3 * mesh.F) return;
  const int64_t f = e / 3;
  const int side = static_cast<int>(e % 3);
  const int64_t a = mesh.corner(f, side == 2 ? 2 : 0), b = mesh.corner(f, side == 1 ? 2 : 1);
  edges[2 * e] = a;
  edges[2 * e + 1] = b;
  weights[e] = has_area(face_normals[f]) ? weigh(mesh.vertices, normals, a, b) : NAN;
}

__global__ void weigh_edges(const float* points, const Vector* normals, const int64_t* edges, float* weights, int64_t N,
                            int64_t E) {
  const int64_t e = thread_number();
  if (e >= E) return;
  const int64_t a = edges[2 * e], b = edges[2 * e + 1];
  assert(0 <= a && a < N && 0 <= b && b < N && "point out of range");
  weights[e] = weigh(points, normals, a, b);
}

__global__ void find_keys(const float* weights, int32_t* keys, int64_t E) {
  const int64_t e = thread_number();
  if (e < E) keys[e] = sort_key(weights[e]);
}

__global__ void pack_sorted(const int64_t* edges, const int32_t* keys, const int64_t* order, Edge* sorted, int64_t N,
                            int64_t E) {
  const int64_t e = thread_number();
  if (e >= E) return;
  const int64_t a = edges[2 * order[e]], b = edges[2 * order[e] + 1];
  assert(0 <= a && a < N && 0 <= b && b < N && "point out of range");
  sorted[e] = {keys[e], static_cast<int32_t>(a), static_cast<int32_t>(b)};
}

const Vector* vectors(const Tensor& tensor) {
  static_assert(sizeof(Vector) == 3 * sizeof(float));
  return reinterpret_cast<const Vector*>(tensor.const_data_ptr<float>());
}

Vector* mutable_vectors(const Tensor& tensor) {
  return reinterpret_cast<Vector*>(tensor.mutable_data_ptr<float>());
}

std::tuple<Tensor, Tensor> mesh_edges(const Tensor& vertices, const Tensor& faces) {
  check_vectors(vertices, "vertices");
  check_ids(faces, 3, "faces");
  const int64_t N = vertices.size(0), F = faces.size(0);
  const DeviceGuard on_device(vertices.get_device_index());
  const Tensor v = torch::stable::contiguous(vertices), f = torch::stable::contiguous(faces);
  const Tensor edges = new_empty(f, {3 * F, 2}), weights = new_empty(v, {3 * F});
  if (F == 0) return {edges, weights};
  const Tensor face_normals = new_empty(v, {F, 3}), normals = new_empty(v, {N, 3});
  const Mesh mesh{v.const_data_ptr<float>(), f.const_data_ptr<int64_t>(), N, F};
  const cudaStream_t stream = current_stream(v);
  find_face_normals<<<blocks_for(F), kThreads, 0, stream>>>(mesh, mutable_vectors(face_normals));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const DeviceGrouping corners = group_rows(torch::stable::flatten(f), N);
  if (N > 0) {
    find_vertex_normals<<<blocks_for(N), kThreads, 0, stream>>>(
        vectors(face_normals), corners.rows.const_data_ptr<int64_t>(), corners.offsets.const_data_ptr<int64_t>(),
        mutable_vectors(normals), N);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  write_face_edges<<<blocks_for(3 * F), kThreads, 0, stream>>>(mesh, vectors(face_normals), vectors(normals),
                                                               edges.mutable_data_ptr<int64_t>(),
                                                               weights.mutable_data_ptr<float>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {edges, weights};
}

Tensor edge_weights(const Tensor& points, const Tensor& normals, const Tensor& edges) {
  check_vectors(points, "points");
  check_vectors(normals, "normals");
  check_ids(edges, 2, "edges");
  const int64_t N = points.size(0), E = edges.size(0);
  STD_TORCH_CHECK(normals.size(0) == N, "normals must be (", N, ", 3)");
  const DeviceGuard on_device(points.get_device_index());
  const Tensor p = torch::stable::contiguous(points), n = torch::stable::contiguous(normals);
  const Tensor e = torch::stable::contiguous(edges), weights = new_empty(p, {E});
  if (E == 0) return weights;
  weigh_edges<<<blocks_for(E), kThreads, 0, current_stream(p)>>>(
      p.const_data_ptr<float>(), vectors(n), e.const_data_ptr<int64_t>(), weights.mutable_data_ptr<float>(), N, E);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return weights;
}

// (E, 3) int32 Edges, those that do not exist last.
Tensor sort_on_device(const Tensor& edges, const Tensor& weights, int64_t N) {
  const int64_t E = edges.size(0);
  const Tensor e = torch::stable::contiguous(edges), w = torch::stable::contiguous(weights);
  const Tensor keys = new_empty(w, {E}, ScalarType::Int), packed = new_empty(w, {E, 3}, ScalarType::Int);
  if (E == 0) return packed;
  const cudaStream_t stream = current_stream(w);
  find_keys<<<blocks_for(E), kThreads, 0, stream>>>(w.const_data_ptr<float>(), keys.mutable_data_ptr<int32_t>(), E);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  const auto [sorted, order] = stable_sort(keys);
  static_assert(sizeof(Edge) == 3 * sizeof(int32_t));
  pack_sorted<<<blocks_for(E), kThreads, 0, stream>>>(
      e.const_data_ptr<int64_t>(), sorted.const_data_ptr<int32_t>(), order.const_data_ptr<int64_t>(),
      reinterpret_cast<Edge*>(packed.mutable_data_ptr<int32_t>()), N, E);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return packed;
}

Tensor felzenszwalb(const Tensor& edges, const Tensor& weights, int64_t N, double k, int64_t min_size) {
  check_graph(edges, weights);
  check_parameters(N, k, min_size);
  const DeviceGuard on_device(edges.get_device_index());
  const torch::stable::Device host(torch::headeronly::DeviceType::CPU);
  // The copy waits for the device, and throws if an assertion has failed there.
  const Tensor packed = torch::stable::to(sort_on_device(edges, weights, N), host);
  const Tensor labels = new_empty(packed, {N}, ScalarType::Long);
  auto* sorted = reinterpret_cast<Edge*>(packed.mutable_data_ptr<int32_t>());
  const Edge* end = std::lower_bound(sorted, sorted + packed.size(0), kNoEdge,
                                     [](const Edge& edge, int32_t key) { return edge.key < key; });
  Components components(N, static_cast<float>(k));
  const int64_t refused = components.join_alike(sorted, end - sorted);
  components.join_small(sorted, refused, min_size);
  components.write_labels(labels.mutable_data_ptr<int64_t>());
  return torch::stable::to(labels, edges.device());
}

}  // namespace
}  // namespace geoguide3d::cuda

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CUDA, m) {
  m.impl("mesh_edges", TORCH_BOX(&geoguide3d::cuda::mesh_edges));
  m.impl("edge_weights", TORCH_BOX(&geoguide3d::cuda::edge_weights));
  m.impl("felzenszwalb", TORCH_BOX(&geoguide3d::cuda::felzenszwalb));
}
