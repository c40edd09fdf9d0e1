"""splat_depth: the kernels against the reference, drawings known from the drawing board, bad input, compilation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.splat_depth import splat_depth, splat_depth_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CASES = [  # N, V, (width, height)
    (0, 2, (9, 7)),
    (5, 0, (9, 7)),
    (1, 1, (1, 1)),
    (300, 2, (7, 50)),
    (513, 3, (64, 48)),
    (30_000, 3, (161, 90)),
]
FOCAL = 50.0


def rigid(count: int, seed: int) -> Tensor:
    """(V, 4, 4) random rotations, about 3 m away from what they look at."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = q * torch.linalg.det(q)[:, None, None]
    poses[:, :3, 3] = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 0.3
    poses[:, 2, 3] += 3
    return poses


def cameras(count: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    width, height = size
    focal = 0.8 * width
    intrinsics = [[focal, 0.0, width / 2 - 0.3], [0.0, 1.02 * focal, height / 2 - 0.7], [0.0, 0.0, 1.0]]
    return torch.tensor(intrinsics, dtype=torch.float64).repeat(count, 1, 1), rigid(count, seed)


def cloud(n: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """Shells of several radii around the origin, some of it behind the cameras, and points in front of the lenses."""
    generator = torch.Generator().manual_seed(n)
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=1)
    return (directions * torch.randint(1, 9, (n, 1), generator=generator) * 0.4).to(dtype).to(device)


def raw(points: Tensor, views: tuple[Tensor, Tensor], size: tuple[int, int], radius_m: float) -> tuple[object, ...]:
    """Arguments of the operator and of the reference."""
    intrinsics, poses = (each.to(points.device) for each in views)
    return points, intrinsics @ poses[:, :3], intrinsics[:, 0, 0] * radius_m, size[1], size[0]


def at_pixel(u: float, v: float, z: float) -> list[float]:
    """The point that `plain_camera` sees at (u, v) and depth z."""
    return [u * z / FOCAL, v * z / FOCAL, z]


def plain_camera() -> tuple[Tensor, Tensor]:
    return torch.diag(torch.tensor([FOCAL, FOCAL, 1.0]))[None], torch.eye(4)[None]


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
@pytest.mark.parametrize("radius_m", [0.0, 0.03, 3.0])
@pytest.mark.parametrize(("n", "v", "size"), CASES)
def test_matches_reference(
    n: int, v: int, size: tuple[int, int], radius_m: float, dtype: torch.dtype, device: str
) -> None:
    arguments = raw(cloud(n, dtype, device), cameras(v, size), size, radius_m)
    got = torch.ops.geoguide3d.splat_depth(*arguments)
    torch.testing.assert_close(got, splat_depth_reference(*arguments), rtol=1e-6, atol=0)
    assert got.shape == (v, size[1], size[0])
    if n > 10_000:
        assert bool(((got > 0).flatten(1).float().mean(1) > (0.05 if radius_m == 0 else 0.3)).all())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1500),
    st.tuples(st.integers(1, 90), st.integers(1, 70)),
    st.floats(0, 0.3),
    st.integers(0, 2**31),
    st.integers(1, 4),
)
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    n: int, size: tuple[int, int], radius_m: float, seed: int, threads: int
) -> None:
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) * 1.5
    arguments = raw(points, cameras(2, size, seed), size, radius_m)
    with torch_threads(threads):
        got = torch.ops.geoguide3d.splat_depth(*arguments)
    torch.testing.assert_close(got, splat_depth_reference(*arguments), rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_the_nearest_point_is_drawn_and_nothing_else(device: str) -> None:
    points = [at_pixel(20, 10, 3.0), at_pixel(20.4, 10, 2.0), at_pixel(40, 30, 4.0), at_pixel(5, 5, -1.0), [0.0] * 3]
    image = splat_depth(torch.tensor(points, device=device), *plain_camera(), (64, 48), 0.0)[0]
    assert image.dtype == torch.float32
    expected = torch.zeros(48, 64)
    expected[10, 20], expected[30, 40] = 2.0, 4.0
    torch.testing.assert_close(image.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spacing", [5, 9])
def test_gaps_of_two_radii_close_and_rims_stay(spacing: int, device: str) -> None:
    """Points on every s-th pixel have gaps of s - 1; radii are rounded up to a power of two."""
    columns, rows = range(10, 10 + 4 * spacing + 1, spacing), range(4, 4 + 4 * spacing + 1, spacing)
    points = torch.tensor([at_pixel(u, v, 2.0) for u in columns for v in rows], device=device)
    expected = torch.zeros(64, 96)
    expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 2.0
    radius_m = (spacing - 1) / 2 * 2.0 / FOCAL
    image = splat_depth(points, *plain_camera(), (96, 64), 0.999 * radius_m)[0].cpu()
    torch.testing.assert_close(image, expected)
    smaller = splat_depth(points, *plain_camera(), (96, 64), 0.499 * radius_m)[0].cpu()
    assert int((smaller > 0).sum()) == len(points)


@pytest.mark.parametrize("device", DEVICES)
def test_near_points_hide_far_ones_and_not_the_other_way(device: str) -> None:
    near = [at_pixel(u, v, 1.0) for u in range(20, 31, 2) for v in range(20, 31, 2)]
    far = [at_pixel(u, v, 5.0) for u in range(0, 64) for v in range(0, 48)]
    image = splat_depth(torch.tensor(far + near, device=device), *plain_camera(), (64, 48), 1.0 / FOCAL)[0].cpu()
    expected = torch.full((48, 64), 5.0)
    expected[20:31, 20:31] = 1.0
    torch.testing.assert_close(image, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_points_that_are_not_finite_are_not_drawn(device: str) -> None:
    values = torch.tensor([0.0, 1.0, -1.0, math.inf, -math.inf, math.nan])
    points = torch.cartesian_prod(values, values, values).to(device)
    views = cameras(3, (64, 48))
    finite = points[points.isfinite().all(1)]
    image = splat_depth(points, *views, (64, 48), 0.1)
    assert bool(image.isfinite().all())
    assert torch.equal(image, splat_depth(finite, *views, (64, 48), 0.1))


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    points, views = cloud(30_000, device=device), cameras(3, (161, 90))
    first = splat_depth(points, *views, (161, 90), 0.05)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0)).to(device)
    for threads in (1, 2, 5):
        with torch_threads(threads):
            assert torch.equal(first, splat_depth(points[order], *views, (161, 90), 0.05))


@pytest.mark.gpu
def test_both_devices_give_the_same_bits() -> None:
    points, views = cloud(30_000), cameras(3, (161, 90))
    on_gpu = splat_depth(points.cuda(), *views, (161, 90), 0.05)
    assert torch.equal(splat_depth(points, *views, (161, 90), 0.05), on_gpu.cpu())


@pytest.mark.gpu
def test_lines_longer_than_one_block() -> None:
    points, views = cloud(20_000), cameras(1, (5000, 37))
    on_gpu = splat_depth(points.cuda(), *views, (5000, 37), 0.3)
    assert torch.equal(splat_depth(points, *views, (5000, 37), 0.3), on_gpu.cpu())


@pytest.mark.parametrize("device", DEVICES)
def test_carries_no_gradient(device: str) -> None:
    points, (intrinsics, poses) = cloud(100, device=device).requires_grad_(), cameras(2, (16, 12))
    assert not splat_depth(points, intrinsics.requires_grad_(), poses.requires_grad_(), (16, 12), 0.1).requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    arguments = raw(cloud(200, device=device), cameras(2, (16, 12)), (16, 12), 0.1)
    torch.library.opcheck(torch.ops.geoguide3d.splat_depth.default, arguments)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def draw(points: Tensor, intrinsics: Tensor, poses: Tensor, size: tuple[int, int], radius_m: float) -> Tensor:
        return splat_depth(points * 2, intrinsics, poses, size, radius_m).sin()

    compiled_once = torch.compile(draw, fullgraph=True, dynamic=True, backend=count_compilations)
    for n, v, size in [(400, 5, (20, 30)), (600, 6, (31, 17)), (330, 7, (50, 40))]:  # V unlike 3 and 4
        arguments = (cloud(n, device=device), *cameras(v, size), size, 0.1)
        torch.testing.assert_close(compiled_once(*arguments), draw(*arguments))
    assert calls == 1


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    points, (intrinsics, poses) = cloud(2000, device=device), cameras(4, (64, 48))
    expected = splat_depth(points[::2].contiguous(), intrinsics[::2], poses[::2].contiguous(), (64, 48), 0.1)
    columns, mirrored = points.T.contiguous().T, poses.mT.contiguous().mT
    assert torch.equal(splat_depth(columns[::2], intrinsics[::2], mirrored[::2], (64, 48), 0.1), expected)
    one = intrinsics[:1].expand(2, -1, -1)  # a stride of 0
    assert torch.equal(splat_depth(points[::2], one, poses[::2], (64, 48), 0.1), expected)


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("points", {"points": torch.zeros(4, 2)}, r"points must be \(N, 3\) .* got \(4, 2\) torch.float32"),
    ("integer points", {"points": torch.zeros(4, 3).long()}, r"got \(4, 3\) torch.int64"),
    ("intrinsics", {"intrinsics": torch.eye(3)}, r"intrinsics must be \(V, 3, 3\) floats, got \(3, 3\)"),
    ("poses", {"camera_from_world": torch.eye(4)[None, :3]}, r"camera_from_world must be .* got \(1, 3, 4\)"),
    ("counts", {"camera_from_world": torch.eye(4).repeat(2, 1, 1)}, "1 intrinsics do not fit 2 camera_from_world"),
    ("size", {"size": (8, 0)}, r"at least one pixel, got \(8, 0\)"),
    ("radius", {"radius_m": -0.1}, "radius_m must be at least 0, got -0.1"),
    ("no radius", {"radius_m": math.nan}, "radius_m must be at least 0, got nan"),
    ("device", {"camera_from_world": torch.eye(4, device="meta")[None]}, "must be on the CPU .* got meta"),
]


@pytest.mark.parametrize(("wrong", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_rejects_what_does_not_fit(wrong: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "points": torch.zeros(4, 3),
        "intrinsics": torch.eye(3)[None],
        "camera_from_world": torch.eye(4)[None],
        "size": (8, 8),
        "radius_m": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        splat_depth(**{**right, **wrong})  # type: ignore[arg-type]
