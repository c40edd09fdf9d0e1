#include "../felzenszwalb.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#ifdef __AVX__
#include <immintrin.h>
#endif

#include "../components.h"
#include "check_value.h"
#include "edge_selection.h"

namespace geoguide3d::cpu {
namespace {

using torch::stable::new_empty;

constexpr int64_t kFacesPerThread = 4096;      // fewer are not worth a thread
constexpr int64_t kVerticesPerThread = 16384;  // each thread reads all faces
constexpr int64_t kBlock = 64;                 // rows whose arithmetic is done side by side in vector registers

// A point and its normal, together because they are needed together.
struct Vertex {
  Vector point, normal;
  float faces;  // so far
  float unused;
};

Vector row(const float* rows, int64_t n) {
  return {rows[3 * n], rows[3 * n + 1], rows[3 * n + 2]};
}

// kBlock vectors, one axis after the other.
struct Vectors {
  float x[kBlock], y[kBlock], z[kBlock];

  void set(int64_t i, Vector value) {
    x[i] = value.x;
    y[i] = value.y;
    z[i] = value.z;
  }
  Vector operator[](int64_t i) const { return {x[i], y[i], z[i]}; }
};

struct Ends {
  Vectors point, normal;

  void set(int64_t i, Vector at, Vector facing) {
    point.set(i, at);
    normal.set(i, facing);
  }
};

// Vector instructions by name on x86: GCC keeps square roots scalar because they may set errno.
void take_roots(float* values) {
#ifdef __AVX__
  for (int64_t i = 0; i < kBlock; i += 8) _mm256_storeu_ps(values + i, _mm256_sqrt_ps(_mm256_loadu_ps(values + i)));
#else
  for (int64_t i = 0; i < kBlock; ++i) values[i] = root(values[i]);
#endif
}

// The three below are functions of their own, because GCC vectorises their loops only where it sees that nothing
// overlaps.
[[gnu::noinline]] void find_steps(const Vectors& from, const Vectors& to, Vectors& __restrict steps,
                                  float* __restrict lengths) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const Vector step = difference(to[i], from[i]);
    steps.set(i, step);
    lengths[i] = dot(step, step);
  }
  take_roots(lengths);
}

[[gnu::noinline]] void weigh(const Vectors& normal_a, const Vectors& normal_b, const Vectors& steps,
                             const float* lengths, float* __restrict weights) {
  for (int64_t i = 0; i < kBlock; ++i) weights[i] = edge_weight(normal_a[i], normal_b[i], steps[i], lengths[i]);
}

[[gnu::noinline]] void find_normals(const Vectors* corners, Vectors& __restrict normals) {
  float lengths[kBlock];
  for (int64_t i = 0; i < kBlock; ++i) {
    const Vector cross = face_cross(corners[0][i], corners[1][i], corners[2][i]);
    normals.set(i, cross);
    lengths[i] = dot(cross, cross);
  }
  take_roots(lengths);
  for (int64_t i = 0; i < kBlock; ++i) normals.set(i, face_normal(normals[i], lengths[i]));
}

void weigh(const Ends& a, const Ends& b, float* weights) {
  Vectors steps;
  float lengths[kBlock];
  find_steps(a.point, b.point, steps, lengths);
  weigh(a.normal, b.normal, steps, lengths, weights);
}

void find_face_normals(const float* points, const int64_t* faces, Vector* normals, int64_t F) {
  torch::stable::parallel_for(0, F, kFacesPerThread, [&](int64_t begin, int64_t end) {
    Vectors corners[3] = {}, found;
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      for (int64_t i = 0; i < count; ++i)
        for (int k = 0; k < 3; ++k) corners[k].set(i, row(points, faces[3 * (first + i) + k]));
      find_normals(corners, found);
      for (int64_t i = 0; i < count; ++i) normals[first + i] = found[i];
    }
  });
}

// Each thread has vertices of its own and walks all faces, so that every vertex sees its faces in their order.
void find_vertex_normals(const int64_t* faces, const Vector* face_normals, Vertex* vertices, int64_t F, int64_t N) {
  torch::stable::parallel_for(0, N, kVerticesPerThread, [&](int64_t begin, int64_t end) {
    const auto own = static_cast<uint64_t>(end - begin);
    for (int64_t f = 0; f < F; ++f) {
      for (int k = 0; k < 3; ++k) {
        const int64_t n = faces[3 * f + k];
        if (static_cast<uint64_t>(n - begin) >= own || !has_area(face_normals[f])) continue;
        Vertex& vertex = vertices[n];
        vertex.normal = running_mean(vertex.normal, face_normals[f], vertex.faces);
        vertex.faces += 1.0f;
      }
    }
  });
}

void write_face_edges(const int64_t* faces, const Vector* face_normals, const Vertex* vertices, int64_t* edges,
                      float* weights, int64_t F) {
  constexpr int kEnds[3][2] = {{0, 1}, {0, 2}, {2, 1}};
  torch::stable::parallel_for(0, F, kFacesPerThread, [&](int64_t begin, int64_t end) {
    Ends corners[3] = {};
    float found[3][kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      for (int64_t i = 0; i < count; ++i) {
        for (int k = 0; k < 3; ++k) {
          const Vertex& vertex = vertices[faces[3 * (first + i) + k]];
          corners[k].set(i, vertex.point, vertex.normal);
        }
      }
      for (int e = 0; e < 3; ++e) weigh(corners[kEnds[e][0]], corners[kEnds[e][1]], found[e]);
      for (int64_t i = 0; i < count; ++i) {
        const bool exists = has_area(face_normals[first + i]);
        for (int e = 0; e < 3; ++e) {
          const int64_t edge = 3 * (first + i) + e;
          for (int k = 0; k < 2; ++k) edges[2 * edge + k] = faces[3 * (first + i) + kEnds[e][k]];
          weights[edge] = exists ? found[e][i] : NAN;
        }
      }
    }
  });
}

std::tuple<Tensor, Tensor> mesh_edges(const Tensor& vertices, const Tensor& faces) {
  check_vectors(vertices, "vertices");
  check_ids(faces, 3, "faces");
  const int64_t N = vertices.size(0), F = faces.size(0);
  const Tensor v = torch::stable::contiguous(vertices), f = torch::stable::contiguous(faces);
  check_range(f.const_data_ptr<int64_t>(), f.size(0), f.size(1), N, "faces");
  const Tensor edges = new_empty(f, {3 * F, 2}), weights = new_empty(v, {3 * F});
  const Tensor normals = new_empty(v, {F, 3}), packed = new_empty(v, {N, 8});
  static_assert(sizeof(Vector) == 3 * sizeof(float) && sizeof(Vertex) == 8 * sizeof(float));
  const float* points = v.const_data_ptr<float>();
  const int64_t* corners = f.const_data_ptr<int64_t>();
  auto* face_normals = reinterpret_cast<Vector*>(normals.mutable_data_ptr<float>());
  auto* vertex = reinterpret_cast<Vertex*>(packed.mutable_data_ptr<float>());
  for (int64_t n = 0; n < N; ++n) vertex[n] = {row(points, n), {0, 0, 0}, 0, 0};
  find_face_normals(points, corners, face_normals, F);
  find_vertex_normals(corners, face_normals, vertex, F, N);
  write_face_edges(corners, face_normals, vertex, edges.mutable_data_ptr<int64_t>(), weights.mutable_data_ptr<float>(),
                   F);
  return {edges, weights};
}

Tensor edge_weights(const Tensor& points, const Tensor& normals, const Tensor& edges) {
  check_vectors(points, "points");
  check_vectors(normals, "normals");
  check_ids(edges, 2, "edges");
  const int64_t N = points.size(0), E = edges.size(0);
  STD_TORCH_CHECK(normals.size(0) == N, "normals must be (", N, ", 3)");
  const Tensor p = torch::stable::contiguous(points), n = torch::stable::contiguous(normals);
  const Tensor e = torch::stable::contiguous(edges);
  check_range(e.const_data_ptr<int64_t>(), e.size(0), e.size(1), N, "edges");
  const Tensor weights = new_empty(p, {E});
  const float *point = p.const_data_ptr<float>(), *normal = n.const_data_ptr<float>();
  const int64_t* end_points = e.const_data_ptr<int64_t>();
  float* out = weights.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, E, 3 * kFacesPerThread, [&](int64_t begin, int64_t end) {
    Ends ends[2] = {};
    float found[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      for (int64_t i = 0; i < count; ++i) {
        for (int k = 0; k < 2; ++k) {
          const int64_t id = end_points[2 * (first + i) + k];
          ends[k].set(i, row(point, id), row(normal, id));
        }
      }
      weigh(ends[0], ends[1], found);
      std::copy_n(found, count, out + first);
    }
  });
  return weights;
}

// The first walk. Most edges of a scanned mesh are above all thresholds: they join nothing and are not sorted.
void join_alike(const GivenEdges& given, Components& components) {
  const int32_t last = sort_key(components.highest_threshold());
  const SortedEdges sorted = select_edges(given, [&](int64_t e) { return given.key(e) <= last; });
  components.join_alike(sorted.edges.get(), sorted.count);
}

// The second walk. Takes only edges that leave a small component as it is now.
void join_small(const GivenEdges& given, Components& components, int64_t min_size) {
  std::vector<int32_t> roots(components.count());  // of small components: their complement, which is negative
  for (int64_t n = 0; n < components.count(); ++n) {
    const int32_t root = components.root_of(static_cast<int32_t>(n));
    roots[n] = components.size(root) < min_size ? ~root : root;
  }
  const SortedEdges sorted = select_edges(given, [&](int64_t e) {
    const int32_t a = roots[given.a(e)], b = roots[given.b(e)];
    return (a != b) & ((a | b) < 0) & (given.key(e) != kNoEdge);
  });
  components.join_small(sorted.edges.get(), sorted.count, min_size);
}

Tensor felzenszwalb(const Tensor& edges, const Tensor& weights, int64_t N, double k, int64_t min_size) {
  check_graph(edges, weights);
  check_parameters(N, k, min_size);
  const int64_t E = edges.size(0);
  const Tensor e = torch::stable::contiguous(edges), w = torch::stable::contiguous(weights);
  check_range(e.const_data_ptr<int64_t>(), e.size(0), e.size(1), N, "edges");
  const Tensor labels = new_empty(e, {N});
  const GivenEdges given{e.const_data_ptr<int64_t>(), w.const_data_ptr<float>(), E};
  Components components(N, static_cast<float>(k));
  join_alike(given, components);
  join_small(given, components, min_size);
  components.write_labels(labels.mutable_data_ptr<int64_t>());
  return labels;
}

}  // namespace
}  // namespace geoguide3d::cpu

STABLE_TORCH_LIBRARY_IMPL(geoguide3d, CPU, m) {
  m.impl("mesh_edges", TORCH_BOX(&geoguide3d::cpu::mesh_edges));
  m.impl("edge_weights", TORCH_BOX(&geoguide3d::cpu::edge_weights));
  m.impl("felzenszwalb", TORCH_BOX(&geoguide3d::cpu::felzenszwalb));
}
