"""fuse_views: kernels against the reference and against a loop in float64, state that goes on, edges and errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.fuse_views import FusionState, Sightings, fuse_views, fuse_views_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SIZE = (40, 30)  # W, H of the camera image
CASES = [  # N, E of each view, (h, w) of the maps, C
    (0, [0], (3, 5), 4),
    (5, [0, 0], (3, 5), 4),
    (1, [1], (1, 1), 1),
    (9, [9, 0, 4], (30, 40), 0),
    (300, [200, 1, 250], (30, 40), 16),
    (300, [300], (7, 9), 131),  # more than two chunks and a rest
    (50, [30, 30], (61, 45), 3),
    (3000, [2900], (15, 20), 64),  # many points on a pixel, several tiles
]


def case(
    points: int, seen: list[int], map_size: tuple[int, int], channels: int, seed: int = 0
) -> tuple[Tensor, Sightings]:
    """Float64 maps (V, h, w, C) and weighted sightings anywhere in the image, some of weight 0."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(len(seen), *map_size, channels, generator=generator, dtype=torch.float64)
    ids = [torch.randperm(points, generator=generator)[:count].sort().values for count in seen]
    total = sum(seen)
    uv = torch.rand(total, 2, generator=generator, dtype=torch.float64) * torch.tensor([39.998, 29.998]) - 0.499
    uv[::5] = uv[::5].round().abs()  # pixel centres
    weights = torch.rand(total, generator=generator)
    weights[3::7] = 0
    offsets = torch.tensor([0, *torch.tensor(seen).cumsum(0).tolist()])
    return maps, Sightings(torch.cat(ids), uv, offsets, weights)


def to(device: str, sightings: Sightings) -> Sightings:
    return Sightings(*(None if tensor is None else tensor.to(device) for tensor in sightings))


def planar(maps: Tensor) -> Tensor:
    """The same maps, their channels in planes."""
    return maps.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


def fused(
    points: int, maps: Tensor, sightings: Sightings, *, bilinear: bool = False, variance: bool = True
) -> FusionState:
    state = FusionState.empty(points, maps.shape[-1], variance=variance, device=maps.device)
    fuse_views(state, maps, sightings, SIZE, bilinear=bilinear)
    return state


def reference(points: int, maps: Tensor, sightings: Sightings, bilinear: bool) -> FusionState:
    state = FusionState.empty(points, maps.shape[-1], variance=True, device=maps.device)
    ids, uv, offsets, weights = sightings
    assert offsets is not None
    fuse_views_reference([*state.by_name().values()], maps, [ids, uv, offsets], weights, SIZE, bilinear)
    return state


def assert_same(got: FusionState, expected: FusionState) -> None:
    """Equal bits, of the spread where `got` has one."""
    for name, tensor in got.by_name().items():
        assert torch.equal(tensor, expected.by_name()[name]), name


def read_row(feature_map: Tensor, u: float, v: float, bilinear: bool) -> Tensor:
    """The definition, from one pixel's numbers."""
    height, width = feature_map.shape[:2]
    if not bilinear:
        return feature_map[int((round(v) + 0.5) * height / SIZE[1]), int((round(u) + 0.5) * width / SIZE[0])]
    x = min(max((u + 0.5) * width / SIZE[0] - 0.5, 0.0), width - 1.0)
    y = min(max((v + 0.5) * height / SIZE[1] - 0.5, 0.0), height - 1.0)
    row = torch.zeros_like(feature_map[0, 0])
    for j in range(height):
        for i in range(width):
            row = row + max(0.0, 1 - abs(x - i)) * max(0.0, 1 - abs(y - j)) * feature_map[j, i]
    return row


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize(("points", "seen", "map_size", "channels"), CASES)
def test_matches_reference(
    points: int,
    seen: list[int],
    map_size: tuple[int, int],
    channels: int,
    bilinear: bool,
    dtype: torch.dtype,
    device: str,
) -> None:
    maps, sightings = case(points, seen, map_size, channels)
    maps, sightings = maps.to(device, dtype), to(device, sightings)
    for seen_by in (sightings, sightings._replace(weights=None)):
        expected = reference(points, maps, seen_by, bilinear)
        for layout in (maps, planar(maps)):
            got = fused(points, layout, seen_by, bilinear=bilinear)
            torch.testing.assert_close(got.by_name(), expected.by_name(), rtol=1e-5, atol=1e-5)
            assert_same(fused(points, layout, seen_by, bilinear=bilinear, variance=False), got)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("map_size", [(30, 40), (15, 20), (7, 9), (61, 45), (1, 1)])
def test_matches_its_definition_in_float64(map_size: tuple[int, int], bilinear: bool, device: str) -> None:
    maps, sightings = case(20, [15, 20, 9], map_size, 5)
    offsets, weights = sightings.offsets, sightings.weights
    assert offsets is not None
    assert weights is not None
    rows: list[list[tuple[float, Tensor]]] = [[] for _ in range(20)]
    for view in range(3):
        for e in range(int(offsets[view]), int(offsets[view + 1])):
            row = read_row(maps[view], *sightings.uv[e].tolist(), bilinear)
            rows[int(sightings.point_ids[e])].append((float(weights[e]), row))
    got = fused(20, maps.to(device), to(device, sightings), bilinear=bilinear).by_name()
    for point, seen in enumerate(rows):
        mass = sum(weight for weight, _ in seen)
        total = sum((weight * row for weight, row in seen), torch.zeros(5).double())
        spread = sum(weight * float((row - total / mass).square().sum()) for weight, row in seen) if mass else 0.0
        torch.testing.assert_close(got["sums"][point].cpu().double(), total, rtol=0, atol=1e-5)
        assert float(got["mass"][point]) == pytest.approx(mass, abs=1e-6)
        assert int(got["count"][point]) == sum(weight > 0 for weight, _ in seen)
        assert float(got["spread"][point]) == pytest.approx(spread, abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_known_answers(device: str) -> None:
    """A ramp: bilinear reads the position itself, nearest the pixel's number; halves round to even."""
    ramp = torch.arange(40.0, device=device).expand(30, 40)[..., None]
    uv = torch.tensor([[2.25, 0.0], [2.5, 0.0], [3.5, 29.2], [39.49, 7.0], [-0.5, 0.0]], dtype=torch.float64)
    ids = torch.arange(5, device=device)
    nearest, bilinear = (fused(5, ramp, Sightings(ids, uv.to(device)), bilinear=b) for b in (False, True))
    assert nearest.sums.flatten().tolist() == [2, 2, 4, 39, 0]
    assert bilinear.sums.flatten().tolist() == [2.25, 2.5, 3.5, 39, 0]
    assert nearest.count.tolist() == nearest.mass.tolist() == [1] * 5
    half = fused(5, ramp[::2, ::2], Sightings(ids, uv.to(device)), bilinear=True)  # pixel i of 20 lies at u = 2 i + 0.5
    torch.testing.assert_close(half.sums.flatten().cpu(), torch.tensor([1.75, 2.0, 3.0, 38.0, 0.0]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighted", [False, True])
def test_variance_is_sound_where_the_mean_is_large(weighted: bool, device: str) -> None:
    """Σ w f² − (Σ w f)² / Σ w in float32 would be off by far more than the variance itself here."""
    views, points, offset = 40, 30, 3000.0
    maps, sightings = case(points, [points] * views, (30, 40), 24, seed=3)
    maps = (maps * 0.5 + offset).float()
    sightings = sightings if weighted else sightings._replace(weights=None)
    got = fused(points, maps.to(device), to(device, sightings))
    weights = torch.ones(views * points) if sightings.weights is None else sightings.weights
    u, v = sightings.uv.round().long().view(views, points, 2).unbind(2)
    rows = maps.double()[torch.arange(views)[:, None], v, u]  # every view sees all points, in order
    weights = weights.double().view(views, points, 1)
    mean = (weights * rows).sum(0) / weights.sum(0)
    expected = (weights * (rows - mean).square()).sum((0, 2)) / weights.sum((0, 2))
    assert got.spread is not None
    variance = (got.spread / got.mass).cpu().double()
    torch.testing.assert_close(variance, expected, rtol=2e-3, atol=0)
    float32_sums = rows.float().square().sum(2).mean(0) - rows.float().mean(0).square().sum(1)
    assert float((float32_sums - expected).abs().max()) > 0.1 * float(expected.max())  # the test can fail


@pytest.mark.parametrize("device", DEVICES)
def test_goes_on_from_a_saved_state_bit_for_bit(device: str) -> None:
    maps, sightings = case(200, [150] * 10, (15, 20), 33)
    maps, sightings = maps.to(device, torch.float16), to(device, sightings)

    def views(first: int, last: int) -> tuple[Tensor, Sightings]:
        ids, uv, _, weights = sightings
        assert weights is not None
        part = slice(150 * first, 150 * last)
        offsets = torch.arange(last - first + 1, device=device) * 150
        return maps[first:last], Sightings(ids[part], uv[part], offsets, weights[part])

    whole, saved = (fused(200, *views(0, last), bilinear=True) for last in (10, 5))
    restored = FusionState(**{name: tensor.clone() for name, tensor in saved.by_name().items()})
    fuse_views(restored, *views(5, 10), SIZE, bilinear=True)
    assert_same(restored, whole)
    one_by_one = FusionState.empty(200, 33, variance=True, device=device)
    for view in range(10):
        feature_map, seen = views(view, view + 1)
        fuse_views(one_by_one, feature_map[0], seen._replace(offsets=None), SIZE, bilinear=True)
    assert_same(one_by_one, whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 3), st.integers(0, 150), st.integers(0, 2**31), st.booleans(), st.booleans())
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    points: int, views: int, channels: int, seed: int, bilinear: bool, in_planes: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randint(0, points + 1, (views,), generator=generator).tolist()
    height, width = torch.randint(1, 40, (2,), generator=generator).tolist()
    maps, sightings = case(points, seen, (height, width), channels, seed)
    maps = planar(maps.half()) if in_planes else maps.half()
    with torch_threads(1):
        one = fused(points, maps, sightings, bilinear=bilinear)
    with torch_threads(3):
        assert_same(fused(points, maps, sightings, bilinear=bilinear), one)
    expected = reference(points, maps, sightings, bilinear)
    torch.testing.assert_close(one.by_name(), expected.by_name(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    maps, sightings = case(20_000, [19_000, 15_000], (30, 40), 65)
    maps, sightings = maps.to(device, torch.bfloat16), to(device, sightings)
    first, turned = fused(20_000, maps, sightings), fused(20_000, planar(maps), sightings)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert_same(fused(20_000, maps, sightings), first)
            assert_same(fused(20_000, planar(maps), sightings), turned)
    assert_same(replace(turned, spread=None), first)  # the same sums whatever the strides


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    maps, sightings = case(60, [50, 40], (30, 40), 32)
    maps, sightings = maps.to(device, torch.float32), to(device, sightings)
    ids, uv, offsets, weights = sightings
    assert offsets is not None
    assert weights is not None
    doubled = Sightings(*(t.repeat_interleave(2, 0)[::2] for t in (ids, uv.flip(1), offsets, weights)))
    doubled = doubled._replace(uv=doubled.uv.flip(1).t().contiguous().t())
    for view in (
        maps[:, ::2, 1::3],
        maps[..., 5:18],
        maps[..., ::2],
        maps.transpose(1, 2).contiguous().transpose(1, 2),
        maps[:1, :1, :1].expand(2, 8, 8, 32),
        maps[..., :1].expand(2, 30, 40, 70),
    ):
        expected = fused(60, view.contiguous(), sightings, bilinear=True, variance=False)
        assert_same(fused(60, view, doubled, bilinear=True, variance=False), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_weight_zero_adds_nothing_and_weight_one_is_the_default(device: str) -> None:
    maps, sightings = case(30, [30], (30, 40), 9)
    maps, sightings = maps.to(device, torch.float32), to(device, sightings)
    ones = sightings._replace(weights=torch.ones(30, device=device))
    assert_same(fused(30, maps, ones), fused(30, maps, sightings._replace(weights=None)))
    zeros = sightings._replace(weights=torch.zeros(30, device=device))
    assert_same(fused(30, maps * torch.nan, zeros), FusionState.empty(30, 9, variance=True, device=device))


def test_more_elements_than_32_bits_can_count() -> None:
    """Sums and maps of more than 2³¹ elements, of which the test and the kernel touch a few pages."""
    maps, sums = torch.empty(1 << 12, 1 << 12, 129, dtype=torch.float16), torch.empty((1 << 20) + 1, 1 << 11)
    maps[-1, -1], sums[-1] = 7, 0
    last = torch.tensor([[4095.0, 4095.0]]).double()
    state = FusionState(sums, torch.zeros(len(sums)), torch.zeros(len(sums), dtype=torch.int32))
    in_planes = maps[:, :, :1].expand(-1, -1, 1 << 11)
    fuse_views(state, in_planes, Sightings(torch.tensor([1 << 20]), last), (4096, 4096), bilinear=True)
    assert sums[-1].unique().tolist() == [7]
    state = FusionState.empty(1, 129)
    fuse_views(state, maps, Sightings(torch.tensor([0]), last), (4096, 4096))
    assert state.sums.unique().tolist() == [7]


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    maps, sightings = case(20, [9, 12], (7, 9), 6)
    ids, uv, offsets, weights = to(device, sightings)
    for spread, chosen, data in ((True, weights, maps.half()), (False, None, planar(maps))):
        state = [*FusionState.empty(20, 6, variance=spread, device=device).by_name().values()]
        arguments = (state, data.to(device), [ids, uv, offsets], chosen, list(SIZE), spread)
        torch.library.opcheck(torch.ops.geoguide3d.fuse_views.default, arguments)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["count", "aot_eager"])
def test_compiles_without_graph_break(backend: str, device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def mean(state: FusionState, maps: Tensor, sightings: Sightings) -> Tensor:
        fuse_views(state, maps * 2, sightings, SIZE, bilinear=True)
        return state.sums / state.mass.clamp(min=1e-6)[:, None]

    chosen = count_compilations if backend == "count" else backend
    compiled_once = torch.compile(mean, fullgraph=True, dynamic=True, backend=chosen)
    for points, seen in [(40, 30), (60, 21), (33, 33)]:
        maps, sightings = case(points, [seen], (7, 9), 5)
        maps, sightings = maps.to(device), to(device, sightings)._replace(offsets=None)
        states = [FusionState.empty(points, 5, variance=True, device=device) for _ in range(2)]
        torch.testing.assert_close(compiled_once(states[0], maps, sightings), mean(states[1], maps, sightings))
        torch.testing.assert_close(states[0].by_name(), states[1].by_name())
    assert calls == (1 if backend == "count" else 0)


def test_there_is_no_gradient_and_asking_for_one_is_an_error() -> None:
    maps, sightings = case(5, [5], (7, 9), 3)
    state = FusionState.empty(5, 3)
    weights = torch.rand(5, requires_grad=True)
    for data, seen in ((maps.requires_grad_(), sightings), (maps.detach(), sightings._replace(weights=weights))):
        with pytest.raises(ValueError, match="no gradient"):
            fuse_views(state, data, seen, SIZE)
        with torch.no_grad():
            fuse_views(state, data, seen, SIZE)
    assert not state.sums.requires_grad
    with pytest.raises(ValueError, match=r"state.mass .* must not require a gradient"):
        fuse_views(replace(state, mass=torch.zeros(5, requires_grad=True)), maps.detach(), sightings, SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point_ids": torch.tensor([0, 1, 5])}, r"sighting 2: point 5 of 5"),
        ({"point_ids": torch.tensor([-1, 1, 2])}, r"sighting 0: point -1 of 5"),
        ({"point_ids": torch.tensor([0, 2, 2])}, "ascend strictly within a view"),
        ({"uv": torch.tensor([[0, 0], [39.51, 0], [0, 0]]).double()}, r"sighting 1: point 1 of 5 at \(39.51, 0\)"),
        ({"uv": torch.tensor([[0, 0], [0, 0], [0, -0.51]]).double()}, r"sighting 2: .* \(0, -0.51\)"),
        ({"uv": torch.tensor([[torch.nan, 0], [0, 0], [0, 0]]).double()}, r"sighting 0: .* \(-?nan, 0\)"),
        ({"weights": torch.tensor([1, 1, -0.5])}, r"sighting 2: .* with weight -0.5"),
        ({"weights": torch.tensor([1, torch.inf, 1])}, r"sighting 1: .* with weight inf"),
        ({"weights": torch.tensor([torch.nan, 1, 1])}, r"sighting 0: .* with weight -?nan"),
        ({"offsets": torch.tensor([1, 3])}, "offsets must"),
    ],
)
def test_rejects_sightings_that_break_the_rules_and_adds_nothing(change: dict[str, Tensor], message: str) -> None:
    state = FusionState.empty(5, 2)
    sightings = Sightings(torch.arange(3), torch.zeros(3, 2).double())._replace(**change)
    with pytest.raises(ValueError, match=message):
        fuse_views(state, torch.ones(7, 9, 2), sightings, SIZE)
    assert_same(state, FusionState.empty(5, 2))


@pytest.mark.gpu
@pytest.mark.parametrize("wrong", ["ids=ids + 4", "ids=ids * 0", "uv=uv + 40", "uv=uv * torch.nan", "weights=-weights"])
@pytest.mark.parametrize("planes", ["", ".transpose(0, 2)"])
def test_rejects_sightings_that_break_the_rules_on_cuda(wrong: str, planes: str) -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch; from geoguide3d.ops import *; ids = torch.arange(3).cuda(); "
        "uv = torch.zeros(3, 2).double().cuda(); weights = torch.ones(3).cuda(); "
        f"seen = dict(ids=ids, uv=uv, weights=weights) | dict({wrong}); "
        f"fuse_views(FusionState.empty(5, 9, device='cuda'), torch.ones(9, 9, 9).cuda(){planes}, "
        "Sightings(seen['ids'], seen['uv'], None, seen['weights']), (40, 30)); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


def test_rejects_wrong_shapes_dtypes_and_devices() -> None:
    state = FusionState.empty(5, 2, variance=True)
    maps, seen = torch.ones(7, 9, 2), Sightings(torch.arange(3), torch.zeros(3, 2).double())
    wrong: list[tuple[FusionState, Tensor, Sightings, str]] = [
        (state, maps[0], seen, r"maps must be \(V, h, w, C\) or \(h, w, C\) floats, got \(9, 2\)"),
        (state, maps.long(), seen, r"got \(1, 7, 9, 2\) torch.int64"),
        (state, maps[:0], seen, r"maps \(1, 0, 9, 2\) have no pixels for 3 sightings"),
        (state, torch.ones(7, 9, 3), seen, r"state.sums must be \(5, 3\) torch.float32 .* got \(5, 2\)"),
        (replace(state, count=state.mass), maps, seen, r"state.count must be \(5,\) torch.int32"),
        (replace(state, spread=torch.zeros(0)), maps, seen, r"state.spread must be \(5,\) .* got \(0,\)"),
        (replace(state, sums=torch.zeros(2, 5).t()), maps, seen, r"contiguous, got strides \(1, 5\)"),
        (state, maps.to("meta"), seen, r"state.sums must be .* on meta .* on cpu"),
        (state, maps, seen._replace(point_ids=seen.point_ids.int()), r"point_ids must be \(3,\) torch.int64"),
        (state, maps, seen._replace(uv=seen.uv.float()), r"uv must be \(3, 2\) torch.float64 .* got .* torch.float32"),
        (state, maps, seen._replace(uv=seen.uv.to("meta")), "uv must be .* got .* on meta"),
        (state, maps, seen._replace(weights=torch.ones(4)), r"weights must be \(3,\) .* got \(4,\)"),
        (state, maps, seen._replace(offsets=torch.arange(3)), r"offsets must be \(2,\)"),
        (state, maps.expand(2, 7, 9, 2), seen, r"offsets \(3,\) are needed to tell the sightings of 2 views apart"),
    ]
    for bad_state, bad_maps, bad_sightings, message in wrong:
        with pytest.raises(ValueError, match=message):
            fuse_views(bad_state, bad_maps, bad_sightings, SIZE)
    with pytest.raises(ValueError, match=r"image_size must be .* got \(0, 30\)"):
        fuse_views(state, maps, seen, (0, 30))
    assert_same(state, FusionState.empty(5, 2, variance=True))
