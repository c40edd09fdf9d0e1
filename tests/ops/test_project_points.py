"""project_points: the kernels against the reference and against a loop, bad input, compilation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.project_points import DepthTest, ProjectedPoints, project_points, project_points_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CASES = [  # N, V
    (0, 3),
    (5, 0),
    (1, 1),
    (511, 2),
    (512, 1),
    (513, 3),
    (20_011, 5),
]
WIDTH, HEIGHT = 64, 48
Cameras = tuple[Tensor, Tensor, Tensor]


def rigid(count: int, seed: int) -> Tensor:
    """(V, 4, 4) random rotations, about 3 m away from what they look at."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = q * torch.linalg.det(q)[:, None, None]
    poses[:, :3, 3] = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 0.3
    poses[:, 2, 3] += 3
    return poses


def cameras(count: int, seed: int = 0, device: str = "cpu") -> Cameras:
    intrinsics = torch.tensor([[50.3, 0.0, 31.2], [0.0, 49.1, 23.9], [0.0, 0.0, 1.0]], dtype=torch.float64)
    sizes = torch.tensor([[WIDTH, HEIGHT]]).repeat(count, 1)
    return intrinsics.repeat(count, 1, 1).to(device), rigid(count, seed).to(device), sizes.to(device)


def cloud(n: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(n)).to(dtype).to(device)


def depth_maps(count: int, size: tuple[int, int] = (HEIGHT, WIDTH), dtype: torch.dtype = torch.float32) -> Tensor:
    """Depths around those of `cloud`, a quarter of them missing in one of four ways."""
    generator = torch.Generator().manual_seed(count)
    maps = torch.rand(count, *size, generator=generator) * 3 + 1.5
    for index, missing in enumerate((0.0, -1.0, math.inf, math.nan)):
        maps[torch.rand(maps.shape, generator=generator) < 0.0625 * (1 + index / 4)] = missing
    return maps.to(dtype)


def raw(points: Tensor, views: Cameras, maps: Tensor | None, border_px: int) -> tuple[object, ...]:
    """Arguments of the operator and of the reference."""
    intrinsics, poses, sizes = views
    return points, intrinsics @ poses[:, :3], sizes, maps, [0.1, 0.05], border_px


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_same(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for name, ours, theirs in zip(ProjectedPoints._fields, got, expected, strict=True):
        exact = ours.dtype == torch.int64
        torch.testing.assert_close(ours, theirs, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-9, msg=name)


def by_definition(point: Tensor, view: int, views: Cameras, maps: Tensor, border: int) -> tuple[float, ...] | None:
    """(u, v, z) where the view sees the point, in plain Python; the map has the image's size."""
    intrinsics, poses, sizes = (each[view].tolist() for each in views)
    x = [sum(row[k] * c for k, c in enumerate([*point.tolist(), 1.0])) for row in poses[:3]]
    if not x[2] > 0:
        return None
    u, v = (sum(row[k] * x[k] for k in range(3)) / x[2] for row in intrinsics[:2])
    column, row = round(u), round(v)  # Python rounds half to even as well
    if not (border <= column < sizes[0] - border and border <= row < sizes[1] - border):
        return None
    d = float(maps[view, row, column])
    seen = 0 < d < math.inf and abs(d - x[2]) <= 0.1 + 0.05 * d
    return (u, v, x[2]) if seen else None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("border", [0, 5])
@pytest.mark.parametrize(("n", "v"), CASES)
def test_matches_reference(n: int, v: int, border: int, dtype: torch.dtype, device: str) -> None:
    points, views = cloud(n, dtype, device), cameras(v, device=device)
    other = torch.float64 if dtype == torch.float32 else torch.float32
    for maps in (None, depth_maps(v), depth_maps(v, dtype=other), depth_maps(v, (31, 97))):
        arguments = raw(points, views, maps if maps is None else maps.to(device), border)
        got = torch.ops.geoguide3d.project_points(*arguments)
        assert_same(got, project_points_reference(*arguments))
        if n > 20_000:
            assert bool((got[0].diff() > 100).all())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 6), st.integers(1, 4))
def test_equals_a_loop_over_points_and_threads_do_not_matter(
    n: int, v: int, seed: int, border: int, threads: int
) -> None:
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) * 2
    views, maps = cameras(v, seed), depth_maps(v)
    with torch_threads(threads):
        got = project_points(points, *views, DepthTest(maps, 0.1, 0.05), border)
    chosen = range(0, n, 1 + n // 100)
    for view in range(v):
        rows = slice(int(got.offsets[view]), int(got.offsets[view + 1]))
        ids = got.point_ids[rows].tolist()
        assert ids == sorted(set(ids))
        where = dict(zip(ids, torch.cat([got.uv, got.depth[:, None]], dim=1)[rows].tolist(), strict=True))
        for index in chosen:
            expected = by_definition(points[index].double(), view, views, maps, border)
            assert (index in where) == (expected is not None)
            assert expected is None or where[index] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_a_known_answer(device: str) -> None:
    """Two cameras at the origin, one turned around; focal length 10, the optical axis through pixel (3, 2)."""
    intrinsics = torch.tensor([[10.0, 0, 3], [0, 10, 2], [0, 0, 1]]).repeat(2, 1, 1)
    poses = torch.stack([torch.eye(4), torch.diag(torch.tensor([-1.0, 1, -1, 1]))])
    points = torch.tensor([[0.5, 0.25, 5.0], [0.5, 0.25, -2.0], [0.0, 0.0, 0.0], [9.0, 0.0, 1.0]], device=device)
    seen = project_points(points, intrinsics, poses, torch.tensor([[7, 5], [7, 5]]))
    assert seen.offsets.tolist() == [0, 1, 2]
    assert seen.point_ids.tolist() == [0, 1]
    assert seen.uv.tolist() == [[4.0, 2.5], [0.5, 3.25]]
    assert seen.depth.tolist() == [5.0, 2.0]
    assert (seen.uv.dtype, seen.depth.dtype, seen.uv.device.type) == (torch.float64, torch.float32, device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_point_at_the_optical_centre_is_not_seen(device: str) -> None:
    """Its depth is 0 but for rounding, on one side or the other."""
    intrinsics, poses, sizes = cameras(40, seed=3)
    centers = -(poses[:, :3, :3].mT @ poses[:, :3, 3:])[:, :, 0]
    points = torch.cat([centers + offset for offset in (0, 1e-9, -1e-9)]).to(device)
    for view, center in enumerate(centers):
        seen = project_points(points, *(each[view : view + 1] for each in (intrinsics, poses, sizes)))
        assert bool(((points[seen.point_ids].cpu() - center).norm(dim=1) > 1e-6).all())


@pytest.mark.parametrize("device", DEVICES)
def test_points_that_are_not_finite_are_not_seen(device: str) -> None:
    values = [0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]
    points = torch.cartesian_prod(*[torch.tensor(values, dtype=torch.float64)] * 3).to(device)
    intrinsics, poses, sizes = cameras(3)
    seen = project_points(points, intrinsics, poses, sizes)
    assert bool(points[seen.point_ids].isfinite().all())
    assert len(seen.point_ids) > 0


@pytest.mark.parametrize("device", DEVICES)
def test_maps_of_several_sizes_are_read_view_by_view(device: str) -> None:
    points, views = cloud(3000, device=device), cameras(4)
    maps = [depth_maps(1, size)[0].to(device) for size in ((48, 64), (24, 32), (48, 64), (7, 5))]
    got = project_points(points, *views, DepthTest(maps, 0.1, 0.05), 2)
    for view, depth_map in enumerate(maps):
        one = project_points(points, *(each[view : view + 1] for each in views), DepthTest([depth_map], 0.1, 0.05), 2)
        rows = slice(int(got.offsets[view]), int(got.offsets[view + 1]))
        assert one.offsets.tolist() == [0, rows.stop - rows.start]
        for ours, theirs in zip(one[1:], got[1:], strict=True):
            assert torch.equal(ours, theirs[rows])


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    points, views, maps = cloud(30_000, device=device), cameras(3), depth_maps(3).to(device)
    first = project_points(points, *views, DepthTest(maps))
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again = project_points(points, *views, DepthTest(maps))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.gpu
def test_both_devices_give_the_same_bits() -> None:
    points, views, maps = cloud(30_000), cameras(4), depth_maps(4, (31, 97))
    on_cpu = project_points(points, *views, DepthTest(maps), 3)
    on_gpu = project_points(points.cuda(), *views, DepthTest(maps.cuda()), 3)
    assert all(torch.equal(a, b.cpu()) for a, b in zip(on_cpu, on_gpu, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_carries_no_gradient(device: str) -> None:
    points, (intrinsics, poses, sizes) = cloud(100, device=device).requires_grad_(), cameras(2)
    seen = project_points(points, intrinsics.requires_grad_(), poses.requires_grad_(), sizes)
    assert not any(column.requires_grad for column in seen)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    points, views = cloud(300, device=device), cameras(2, device=device)
    for maps in (None, depth_maps(2).to(device)):
        torch.library.opcheck(torch.ops.geoguide3d.project_points.default, raw(points, views, maps, 1))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def everything(points: Tensor, intrinsics: Tensor, poses: Tensor, sizes: Tensor, maps: Tensor) -> Tensor:
        free = project_points(points * 2, intrinsics, poses, sizes)
        tested = project_points(points, intrinsics, poses, sizes, DepthTest(maps, 0.1, 0.05), 1)
        return free.offsets + tested.offsets + tested.uv.sum() + tested.depth.sum()

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled_once = torch.compile(everything, fullgraph=True, dynamic=True, backend=count_compilations)
        for n, v, size in [(400, 5, (48, 64)), (600, 6, (24, 40)), (330, 7, (20, 30))]:  # V unlike 3 and 4
            arguments = (cloud(n, device=device), *cameras(v, device=device), depth_maps(v, size).to(device))
            torch.testing.assert_close(compiled_once(*arguments), everything(*arguments))
    assert calls == 1


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    points, (intrinsics, poses, sizes) = cloud(2000, device=device), cameras(4, device=device)
    maps = depth_maps(4).to(device)
    expected = project_points(
        points[::2].contiguous(), intrinsics[::2], poses[::2], sizes[::2], DepthTest(maps[::2].contiguous())
    )
    transposed = maps.mT.contiguous().mT
    columns = points.T.contiguous().T
    got = project_points(columns[::2], intrinsics.mT.contiguous().mT[::2], poses[::2], sizes[::2], DepthTest(maps[::2]))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    got = project_points(points[::2], intrinsics[::2], poses[::2], sizes[::2], DepthTest(transposed[::2]))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    one = maps[:1].expand(4, -1, -1)  # a stride of 0
    got = project_points(points, intrinsics, poses, sizes, DepthTest(one))
    expected = project_points(points, intrinsics, poses, sizes, DepthTest(one.contiguous()))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("points", {"points": torch.zeros(4, 2)}, r"points must be \(N, 3\) .* got \(4, 2\) torch.float32"),
    ("half points", {"points": torch.zeros(4, 3).half()}, r"got \(4, 3\) torch.float16"),
    ("intrinsics", {"intrinsics": torch.eye(3)}, r"intrinsics must be \(V, 3, 3\) floats, got \(3, 3\)"),
    ("poses", {"camera_from_world": torch.eye(4)[None, :3]}, r"camera_from_world must be .* got \(1, 3, 4\)"),
    ("counts", {"camera_from_world": torch.eye(4).repeat(2, 1, 1)}, "1 intrinsics do not fit 2 camera_from_world"),
    ("sizes", {"sizes": torch.tensor([8, 8])}, r"sizes must be \(1, 2\) int64, got \(2,\) torch.int64"),
    ("float sizes", {"sizes": torch.ones(1, 2)}, r"got \(1, 2\) torch.float32"),
    ("negative size", {"sizes": torch.tensor([[8, -8]])}, r"sizes must not be negative, got \[\[8, -8\]\]"),
    ("border", {"border_px": -1}, "border_px must not be negative, got -1"),
    ("map", {"depth_test": DepthTest(torch.ones(8, 8))}, r"must be \(V, h, w\).* got \(8, 8\)"),
    ("maps", {"depth_test": DepthTest(torch.ones(2, 8, 8))}, "1 views need as many depth maps, got 2"),
    ("no maps", {"depth_test": DepthTest([])}, "1 views need as many depth maps, got 0"),
    ("empty map", {"depth_test": DepthTest(torch.ones(1, 0, 8))}, r"none empty, got \(1, 0, 8\)"),
    ("stored map", {"depth_test": DepthTest(torch.ones(1, 8, 8).short())}, "metres, got torch.int16"),
    ("map device", {"depth_test": DepthTest(torch.ones(1, 8, 8, device="meta"))}, "must be on cpu .* got meta"),
    ("device", {"intrinsics": torch.eye(3, device="meta")[None]}, "intrinsics must be on the CPU .* got meta"),
]


@pytest.mark.parametrize(("wrong", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_rejects_what_does_not_fit(wrong: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "points": torch.zeros(4, 3),
        "intrinsics": torch.eye(3)[None],
        "camera_from_world": torch.eye(4)[None],
        "sizes": torch.tensor([[8, 8]]),
    }
    with pytest.raises(ValueError, match=message):
        project_points(**{**right, **wrong})  # type: ignore[arg-type]
