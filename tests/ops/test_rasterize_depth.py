"""rasterize_depth: the kernels against the reference, planes whose depth is known, Open3D's rays, bad input."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.kernels import compiled
from geoguide3d.ops.rasterize_depth import rasterize_depth, rasterize_depth_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CASES = [  # faces, V, (width, height)
    (0, 2, (9, 7)),
    (5, 0, (9, 7)),
    (1, 1, (1, 1)),
    (40, 2, (7, 50)),
    (300, 3, (64, 48)),
    (5000, 1, (40, 30)),
]
FOCAL, WIDTH, HEIGHT = 50.0, 64, 48


def rigid(count: int, seed: int) -> Tensor:
    """(V, 4, 4) random rotations and small translations: the cameras stand amidst what they look at."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = q * torch.linalg.det(q)[:, None, None]
    poses[:, :3, 3] = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 0.3
    return poses


def cameras(count: int, size: tuple[int, int] = (WIDTH, HEIGHT), seed: int = 0) -> tuple[Tensor, Tensor]:
    width, height = size
    intrinsics = [[0.8 * width, 0.0, width / 2 - 0.3], [0.0, 0.82 * width, height / 2 - 0.7], [0.0, 0.0, 1.0]]
    return torch.tensor(intrinsics, dtype=torch.float64).repeat(count, 1, 1), rigid(count, seed)


def soup(faces: int, seed: int = 0, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Triangles of all sizes around the origin, float32; of many, each is small."""
    generator = torch.Generator().manual_seed(seed + faces)
    centers = torch.nn.functional.normalize(torch.randn(faces, 1, 3, generator=generator), dim=2) * 2.5
    extent = 3.0 * torch.rand(faces, 1, 1, generator=generator) ** 2 * min(1.0, 10 / max(faces, 1) ** 0.5)
    corners = centers + extent * torch.randn(faces, 3, 3, generator=generator)
    return corners.reshape(-1, 3).to(device), torch.arange(3 * faces).view(-1, 3).to(device)


def raw(mesh: tuple[Tensor, Tensor], views: tuple[Tensor, Tensor], size: tuple[int, int]) -> tuple[object, ...]:
    """Arguments of the operator and of the reference."""
    intrinsics, poses = (each.to(mesh[0].device) for each in views)
    return *mesh, intrinsics @ poses[:, :3], size[1], size[0]


def plain_camera() -> tuple[Tensor, Tensor]:
    return torch.diag(torch.tensor([FOCAL, FOCAL, 1.0]))[None], torch.eye(4)[None]


def at_pixel(u: float, v: float, z: float) -> list[float]:
    """The point that `plain_camera` sees at (u, v) and depth z."""
    return [u * z / FOCAL, v * z / FOCAL, z]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("faces", "v", "size"), CASES)
def test_matches_reference(faces: int, v: int, size: tuple[int, int], dtype: torch.dtype, device: str) -> None:
    vertices, ids = soup(faces, device=device)
    arguments = raw((vertices.to(dtype), ids), cameras(v, size), size)
    got = torch.ops.geoguide3d.rasterize_depth(*arguments)
    torch.testing.assert_close(got, rasterize_depth_reference(*arguments), rtol=1e-6, atol=0)
    assert got.shape == (v, size[1], size[0])
    assert faces < 300 or float((got > 0).float().mean()) > 0.5


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 40),
    st.tuples(st.integers(1, 60), st.integers(1, 50)),
    st.integers(0, 2**31),
    st.integers(1, 4),
)
def test_any_triangles_match_the_reference_and_threads_do_not_matter(
    faces: int, size: tuple[int, int], seed: int, threads: int
) -> None:
    arguments = raw(soup(faces, seed), cameras(2, size, seed), size)
    with torch_threads(threads):
        got = torch.ops.geoguide3d.rasterize_depth(*arguments)
    torch.testing.assert_close(got, rasterize_depth_reference(*arguments), rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("flipped", [False, True])
def test_a_triangle_covers_its_pixels_edges_included(flipped: bool, device: str) -> None:
    """Depth 2; corners at the pixel centres (3, 2), (9, 2) and (3, 8)."""
    corners = torch.tensor([at_pixel(3, 2, FOCAL), at_pixel(9, 2, FOCAL), at_pixel(3, 8, FOCAL)], device=device)
    face = torch.tensor([[0, 2, 1] if flipped else [0, 1, 2]], device=device)
    image = rasterize_depth(corners, face, *plain_camera(), (16, 12))[0].cpu()
    v, u = torch.meshgrid(torch.arange(12), torch.arange(16), indexing="ij")
    inside = (u >= 3) & (v >= 2) & (u - 3 + v - 2 <= 6)
    torch.testing.assert_close(image, torch.where(inside, FOCAL, 0.0))


@pytest.mark.parametrize("device", DEVICES)
def test_a_slanted_plane_has_its_exact_depth_and_reaches_behind_the_camera(device: str) -> None:
    """The floor y = 1.5 below a camera that looks down by 20 degrees; its triangles begin 50 m behind."""
    intrinsics, poses = cameras(1)
    tilt = math.radians(20)
    poses[0] = torch.eye(4, dtype=torch.float64)
    poses[0, 1:3, 1:3] = torch.tensor([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    floor = torch.tensor([[-60.0, 1.5, -50], [60, 1.5, -50], [0, 1.5, 80]], device=device)
    image = rasterize_depth(floor, torch.tensor([[0, 1, 2]], device=device), intrinsics, poses, (WIDTH, HEIGHT))[0]
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    rays = torch.linalg.solve(intrinsics[0], torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1).double())
    world = poses[0, :3, :3].T @ rays
    z = (1.5 / world[1]).view(HEIGHT, WIDTH)  # rays have a z-depth of 1
    near = (z > 0) & (z < 20)
    assert float(near.float().mean()) > 0.5
    torch.testing.assert_close(image.cpu()[near], z[near].float(), rtol=1e-6, atol=0)
    assert bool((image.cpu()[z < 0] == 0).all())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared vertices", "own vertices"])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_neighbours_leave_no_holes(jitter: float, shared: bool, device: str) -> None:
    """A wall of triangles over more than the image; without jitter every edge runs through pixel centres."""
    columns, rows = 24, 20
    v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corners = torch.stack([u, v], dim=2).reshape(-1, 2) * 4.0 - 8
    corners += jitter * 4 * (torch.rand(corners.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    z = 2 + torch.rand(len(corners), generator=torch.Generator().manual_seed(1)) * (jitter > 0)
    vertices = torch.tensor([at_pixel(a, b, c) for (a, b), c in zip(corners.tolist(), z.tolist(), strict=True)])
    a = (v[:-1, :-1] * columns + u[:-1, :-1]).flatten()
    faces = torch.cat([torch.stack([a, a + 1, a + columns], 1), torch.stack([a + columns + 1, a + columns, a + 1], 1)])
    if not shared:
        vertices, faces = vertices[faces.flatten()], torch.arange(faces.numel()).view(-1, 3)
    image = rasterize_depth(vertices.to(device), faces.to(device), *plain_camera(), (WIDTH, HEIGHT))[0]
    assert int((image == 0).sum()) == 0
    assert bool((image >= 1.999).all()) and bool((image <= 3.001).all())


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_nearest_is_seen_and_what_has_no_area_is_not(device: str) -> None:
    def square(z: float, low: int, high: int) -> list[list[float]]:
        return [at_pixel(u, v, z) for u, v in ((low, low), (high, low), (low, high), (high, high))]

    corners = square(2 * FOCAL, -9, 99) + square(FOCAL, 10, 20) + square(-FOCAL, -9, 99)
    vertices = torch.tensor([*corners, [math.nan, 0, 1], [0, math.inf, 1], [0, 0, 0]], device=device)
    quads = [[4 * k + i for i in triangle] for k in range(3) for triangle in ((0, 1, 2), (1, 2, 3))]
    nothing = [[0, 0, 1], [4, 5, 4], [0, 1, 12], [13, 1, 2], [14, 14, 14], [0, 14, 14]]
    faces = torch.tensor([*nothing, *quads], device=device)
    expected = torch.full((HEIGHT, WIDTH), 2 * FOCAL)
    expected[10:21, 10:21] = FOCAL
    image = rasterize_depth(vertices, faces, *plain_camera(), (WIDTH, HEIGHT))[0]
    torch.testing.assert_close(image.cpu(), expected)
    collinear = torch.tensor([at_pixel(1, 1, 1), at_pixel(9, 9, 1), at_pixel(5, 5, 1)], device=device)
    image = rasterize_depth(collinear, torch.tensor([[0, 1, 2]], device=device), *plain_camera(), (16, 16))
    assert bool(((image == 0) | ((image - 1).abs() < 1e-6)).all())


def wavy_shell(count: int) -> tuple[Tensor, Tensor]:
    """A closed mesh around the origin, 2.1 to 2.9 m away."""
    phi, theta = torch.linspace(0.02, math.pi - 0.02, count), torch.arange(2 * count) * (math.pi / count)
    radius = 2.5 + 0.4 * torch.sin(5 * theta) * torch.sin(6 * phi)[:, None]
    ring = torch.stack([torch.cos(theta), torch.sin(theta)]) * torch.sin(phi)[:, None, None]
    vertices = torch.cat([ring.permute(0, 2, 1), torch.cos(phi)[:, None, None].expand(-1, 2 * count, 1)], dim=2)
    i, j = torch.meshgrid(torch.arange(count - 1), torch.arange(2 * count), indexing="ij")
    a, b = i * 2 * count + j, i * 2 * count + (j + 1) % (2 * count)
    quads = torch.stack([a, b, a + 2 * count, b, b + 2 * count, a + 2 * count], dim=2)
    return (vertices * radius[:, :, None]).reshape(-1, 3), quads.reshape(-1, 3)


def test_equals_the_rays_of_open3d() -> None:
    o3d = pytest.importorskip("open3d")
    vertices, faces = wavy_shell(60)
    intrinsics, poses = cameras(3, (160, 120), seed=5)
    got = rasterize_depth(vertices, faces, intrinsics, poses, (160, 120))
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(vertices.numpy(), faces.to(torch.int32).numpy().astype("uint32"))
    half_pixel = torch.tensor([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], dtype=torch.float64)  # of its pixel centres
    for image, k, pose in zip(got, intrinsics, poses, strict=True):
        tensors = [o3d.core.Tensor(matrix.numpy()) for matrix in (half_pixel @ k, pose)]
        rays = scene.create_rays_pinhole(*tensors, 160, 120)
        distance = torch.from_numpy(scene.cast_rays(rays)["t_hit"].numpy())
        z = distance.double() * (torch.from_numpy(rays.numpy())[:, :, 3:].double() @ pose[2, :3])
        hit = distance.isfinite() & (image > 0)
        assert float(hit.float().mean()) > 0.99
        error = (image - z)[hit].abs()
        assert float(error.quantile(0.999)) < 1e-5  # its rays are float32, so a few take a silhouette's other side


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    (vertices, faces), views = soup(3000, device=device), cameras(2)
    first = rasterize_depth(vertices, faces, *views, (WIDTH, HEIGHT))
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0)).to(device)
    for threads in (1, 2, 5):
        with torch_threads(threads):
            assert torch.equal(first, rasterize_depth(vertices, faces[order], *views, (WIDTH, HEIGHT)))


@pytest.mark.gpu
def test_both_devices_give_the_same_bits() -> None:
    (vertices, faces), views = soup(3000), cameras(2)
    on_gpu = rasterize_depth(vertices.cuda(), faces.cuda(), *views, (WIDTH, HEIGHT))
    assert torch.equal(rasterize_depth(vertices, faces, *views, (WIDTH, HEIGHT)), on_gpu.cpu())


@pytest.mark.parametrize("device", DEVICES)
def test_carries_no_gradient(device: str) -> None:
    (vertices, faces), (intrinsics, poses) = soup(20, device=device), cameras(2)
    vertices.requires_grad_()
    image = rasterize_depth(vertices, faces, intrinsics.requires_grad_(), poses.requires_grad_(), (16, 12))
    assert not image.requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    arguments = raw(soup(20, device=device), cameras(2, (16, 12)), (16, 12))
    torch.library.opcheck(torch.ops.geoguide3d.rasterize_depth.default, arguments)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def draw(vertices: Tensor, faces: Tensor, intrinsics: Tensor, poses: Tensor, size: tuple[int, int]) -> Tensor:
        return rasterize_depth(vertices * 2, faces, intrinsics, poses, size).sin()

    compiled_once = torch.compile(draw, fullgraph=True, dynamic=True, backend=count_compilations)
    for faces, v, size in [(40, 5, (20, 30)), (60, 6, (31, 17)), (33, 7, (50, 40))]:  # V unlike 3 and 4
        arguments = (*soup(faces, device=device), *cameras(v, size), size)
        torch.testing.assert_close(compiled_once(*arguments), draw(*arguments))
    assert calls == 1


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    (vertices, faces), (intrinsics, poses) = soup(200, device=device), cameras(4)
    expected = rasterize_depth(vertices, faces[::2].contiguous(), intrinsics[::2], poses[::2].contiguous(), (64, 48))
    got = rasterize_depth(
        vertices.T.contiguous().T, faces.T.contiguous().T[::2], intrinsics[:1].expand(2, -1, -1), poses[::2], (64, 48)
    )
    assert torch.equal(got, expected)


@pytest.mark.parametrize("outside", [-1, 3, 2**40])
def test_rejects_faces_out_of_range(outside: int) -> None:
    faces = torch.tensor([[0, 1, 2], [0, outside, 1]])
    with pytest.raises(ValueError, match=r"faces name vertices .* but there are 3"):
        rasterize_depth(torch.zeros(3, 3), faces, *plain_camera(), (8, 8))
    if compiled != "none":  # what a compiled graph runs
        with pytest.raises(ValueError, match=r"is outside \[0, 3\)"):
            torch.ops.geoguide3d.rasterize_depth(torch.zeros(3, 3), faces, torch.zeros(1, 3, 4).double(), 8, 8)


@pytest.mark.gpu
def test_rejects_faces_out_of_range_on_cuda() -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch, geoguide3d.ops; "
        "torch.ops.geoguide3d.rasterize_depth(torch.zeros(3, 3).cuda(), torch.tensor([[0, 3, 1]]).cuda(), "
        "torch.zeros(1, 3, 4).double().cuda(), 8, 8); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("vertices", {"vertices": torch.zeros(4, 2)}, r"points must be \(N, 3\) .* got \(4, 2\) torch.float32"),
    ("quads", {"faces": torch.zeros(1, 4).long()}, r"faces must be \(F, 3\) int64, got \(1, 4\)"),
    ("int32 faces", {"faces": torch.zeros(1, 3).int()}, r"got \(1, 3\) torch.int32"),
    ("intrinsics", {"intrinsics": torch.eye(3)}, r"intrinsics must be \(V, 3, 3\) floats, got \(3, 3\)"),
    ("poses", {"camera_from_world": torch.eye(4)[None, :3]}, r"camera_from_world must be .* got \(1, 3, 4\)"),
    ("size", {"size": (0, 8)}, r"at least one pixel, got \(0, 8\)"),
    ("device", {"faces": torch.zeros(1, 3, device="meta").long()}, "faces must be on cpu .* got meta"),
]


@pytest.mark.parametrize(("wrong", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_rejects_what_does_not_fit(wrong: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "vertices": torch.zeros(4, 3),
        "faces": torch.zeros(1, 3, dtype=torch.int64),
        "intrinsics": torch.eye(3)[None],
        "camera_from_world": torch.eye(4)[None],
        "size": (8, 8),
    }
    with pytest.raises(ValueError, match=message):
        rasterize_depth(**{**right, **wrong})  # type: ignore[arg-type]
