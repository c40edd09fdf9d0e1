// The plain way that benchmarks/felzenszwalb.py compares with: one thread, std::stable_sort, one loop after the other,
// written from the contract in csrc/felzenszwalb.h. Compiled when the benchmark runs, with -O2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {
struct Vector {
  float x, y, z;
};

Vector operator-(Vector a, Vector b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
float dot(Vector a, Vector b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
Vector unit(Vector a) {
  const float length = std::sqrt(dot(a, a));
  return {a.x / length, a.y / length, a.z / length};
}
Vector cross(Vector a, Vector b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

struct Edge {
  float weight;
  int a, b;
};

struct Forest {
  struct Node {
    int parent, size;
    float threshold;
  };
  std::vector<Node> nodes;

  Forest(int count, float k) : nodes(count) {
    for (int i = 0; i < count; ++i) nodes[i] = {i, 1, k};
  }
  int root(int i) {
    int top = i;
    while (nodes[top].parent != top) top = nodes[top].parent;
    nodes[i].parent = top;
    return top;
  }
  int join(int a, int b) {
    if (nodes[a].size < nodes[b].size) std::swap(a, b);
    nodes[b].parent = a;
    nodes[a].size += nodes[b].size;
    return a;
  }
};

void cluster(std::vector<Edge>& edges, int N, float k, int min_size, int64_t* labels) {
  std::stable_sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.weight < b.weight; });
  Forest forest(N, k);
  for (const Edge& edge : edges) {
    int a = forest.root(edge.a), b = forest.root(edge.b);
    if (a == b || edge.weight > forest.nodes[a].threshold || edge.weight > forest.nodes[b].threshold) continue;
    a = forest.join(a, b);
    forest.nodes[a].threshold = edge.weight + k / static_cast<float>(forest.nodes[a].size);
  }
  for (const Edge& edge : edges) {
    const int a = forest.root(edge.a), b = forest.root(edge.b);
    if (a != b && (forest.nodes[a].size < min_size || forest.nodes[b].size < min_size)) forest.join(a, b);
  }
  std::vector<int64_t> label_of_root(N, -1);
  int64_t count = 0;
  for (int n = 0; n < N; ++n) {
    int64_t& label = label_of_root[forest.root(n)];
    if (label < 0) label = count++;
    labels[n] = label;
  }
}
}  // namespace

// Points (N, 3), faces (F, 3), labels (N,).
extern "C" void superpoints_of_mesh(const Vector* points, const int64_t* faces, int64_t N, int64_t F, float k,
                                    int min_size, int64_t* labels) {
  std::vector<Vector> normals(N, Vector{0, 0, 0});
  std::vector<float> count(N, 0.0f);
  std::vector<Edge> edges;
  edges.reserve(3 * F);
  for (int64_t f = 0; f < F; ++f) {
    const int64_t* corner = faces + 3 * f;
    const Vector origin = points[corner[0]];
    const Vector normal = unit(cross(points[corner[1]] - origin, points[corner[2]] - origin));
    if (!std::isfinite(normal.x)) continue;
    for (int i = 0; i < 3; ++i) {
      Vector& mean = normals[corner[i]];
      const float share = 1.0f / (count[corner[i]] + 1.0f), rest = 1.0f - share;
      mean = {share * normal.x + rest * mean.x, share * normal.y + rest * mean.y, share * normal.z + rest * mean.z};
      count[corner[i]] += 1.0f;
    }
    const int a = static_cast<int>(corner[0]), b = static_cast<int>(corner[1]), c = static_cast<int>(corner[2]);
    edges.push_back({0, a, b});
    edges.push_back({0, a, c});
    edges.push_back({0, c, b});
  }
  for (Edge& edge : edges) {
    const float weight = 1.0f - dot(normals[edge.a], normals[edge.b]);
    const Vector direction = unit(points[edge.b] - points[edge.a]);
    edge.weight = dot(normals[edge.b], direction) > 0.0f ? weight * weight : weight;
  }
  cluster(edges, static_cast<int>(N), k, min_size, labels);
}

// Edges (E, 2), weights (E,), labels (N,).
extern "C" void superpoints_of_graph(const int64_t* ends, const float* weights, int64_t E, int64_t N, float k,
                                     int min_size, int64_t* labels) {
  std::vector<Edge> edges(E);
  for (int64_t e = 0; e < E; ++e)
    edges[e] = {weights[e], static_cast<int>(ends[2 * e]), static_cast<int>(ends[2 * e + 1])};
  cluster(edges, static_cast<int>(N), k, min_size, labels);
}
