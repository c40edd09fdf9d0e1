"""mask_bce: kernel against reference and against torch's own loss, balance, gradients, edges."""

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

from geoguide3d.ops.mask_bce import mask_bce, mask_bce_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
CASES = [  # M, N, C
    (0, 7, 3),
    (3, 0, 5),
    (1, 1, 2),
    (7, 5, 3),
    (7, 3001, 33),  # three tiles
    (150, 2000, 6),  # smaller tiles
    (2500, 300, 5),  # the smallest tiles
    (2, 9, 0),
]
FLOOR = math.log1p(math.exp(-1.0))  # 0.3133, all cosines 1 or -1 as they should be


def csr(inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(offsets, point_ids) of a dense (M, N) mask, the points of each mask in random order."""
    ids = [row.nonzero().flatten() for row in inside]
    ids = [row[torch.randperm(len(row), generator=generator)] for row in ids]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), inside.sum(1).cumsum(0)])
    return offsets, torch.cat([torch.zeros(0, dtype=torch.int64), *ids])


def data(
    m: int, n: int, c: int, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mask features, point features, offsets, point ids); the first two masks are empty and full where there are 2."""
    generator = torch.Generator().manual_seed(seed + m + 10 * n + 100 * c)
    features = [torch.randn(rows, c, generator=generator, dtype=torch.float64) for rows in (m, n)]
    inside = torch.rand(m, n, generator=generator) < torch.rand(m, 1, generator=generator) ** 3
    inside[:1], inside[1:2] = False, True
    offsets, ids = csr(inside, generator)
    return features[0].to(dtype).to(device), features[1].to(dtype).to(device), offsets.to(device), ids.to(device)


def dense(offsets: Tensor, ids: Tensor, n: int) -> Tensor:
    target = torch.zeros(len(offsets) - 1, n, dtype=torch.float64, device=ids.device)
    for mask, (begin, end) in enumerate(zip(offsets.tolist(), offsets.tolist()[1:], strict=False)):
        target[mask, ids[begin:end]] = 1
    return target


def balanced_by_definition(logits: Tensor, target: Tensor) -> Tensor:
    """One mask at a time: the mean of the means over what it holds and what it does not."""
    values = []
    for row, inside in zip(logits, target, strict=True):
        losses = torch.nn.functional.binary_cross_entropy_with_logits(row, inside, reduction="none")
        means = [losses[side].mean() for side in (inside > 0, inside == 0) if bool(side.any())]
        values.append(torch.stack(means).mean())
    return torch.stack(values).mean()


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
@pytest.mark.parametrize(("m", "n", "c"), CASES)
def test_matches_reference(m: int, n: int, c: int, dtype: torch.dtype, device: str) -> None:
    of_masks, of_points, offsets, ids = data(m, n, c, dtype, device)
    arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
    queries = 4 * torch.nn.functional.normalize(of_masks.to(arithmetic))
    tolerance = 1e-12 if dtype == torch.float64 else 5e-5  # of the greatest gradient
    for balanced in (False, True):
        got = torch.ops.geoguide3d.mask_bce(queries, of_points, offsets, ids, balanced, 3)
        expected = mask_bce_reference(queries.double(), of_points.double(), offsets, ids, balanced, 3)
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.dtype == arithmetic
            scale = float(theirs.abs().max()) if theirs.numel() else 0.0
            torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("balanced", [False, True])
def test_matches_its_definition(balanced: bool, device: str) -> None:
    of_masks, of_points, offsets, ids = data(9, 200, 6, torch.float64, device)
    leaves = [of_masks.requires_grad_(), of_points.requires_grad_()]
    cosines = torch.nn.functional.cosine_similarity(of_masks[:, None], of_points[None], dim=2)
    target = dense(offsets, ids, 200)
    if balanced:
        expected = balanced_by_definition(5 * cosines, target)
    else:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(5 * cosines, target)
    got = mask_bce(of_masks, of_points, offsets, ids, 5.0, balanced)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("balanced", [False, True])
def test_known_answers(balanced: bool, device: str) -> None:
    axis = torch.tensor([[3.0, 0.0]], device=device)
    offsets, ids = torch.tensor([0, 2], device=device), torch.tensor([4, 1], device=device)
    aligned = torch.tensor([[-1.0, 0.0], [2.0, 0.0], [-5.0, 0.0], [-9.0, 0.0], [0.1, 0.0]], device=device)
    value = mask_bce(axis, aligned, offsets, ids, balanced=balanced)
    assert float(value) == pytest.approx(FLOOR, rel=1e-6)
    assert float(mask_bce(axis, -aligned, offsets, ids, balanced=balanced)) == pytest.approx(FLOOR + 1, rel=1e-6)
    across = torch.tensor([[0.0, 1.0]], device=device).expand(5, 2)
    assert float(mask_bce(axis, across, offsets, ids, balanced=balanced)) == pytest.approx(math.log(2), rel=1e-6)
    assert float(mask_bce(axis, 0 * aligned, offsets, ids, balanced=balanced)) == pytest.approx(math.log(2), rel=1e-6)
    huge = mask_bce(axis, -aligned, offsets, ids, scale=500.0, balanced=balanced)
    assert float(huge) == pytest.approx(500.0)  # finite, and the logarithm of a number below all floats


def test_balance_counts_both_sides_alike() -> None:
    axis, offsets, ids = torch.tensor([[1.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([0])
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    inside, outside = FLOOR, math.log(2)
    assert float(mask_bce(axis, points, offsets, ids)) == pytest.approx((inside + 3 * outside) / 4)
    assert float(mask_bce(axis, points, offsets, ids, balanced=True)) == pytest.approx((inside + outside) / 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("balanced", [False, True])
def test_empty_cases(balanced: bool, device: str) -> None:
    for m, n in ((0, 4), (3, 0), (0, 0)):
        leaves = [torch.ones(rows, 2, device=device, requires_grad=True) for rows in (m, n)]
        none = torch.zeros(0, dtype=torch.int64, device=device)
        value = mask_bce(*leaves, torch.zeros(m + 1, dtype=torch.int64, device=device), none, 2.0, balanced)
        value.backward()
        assert value.item() == 0
        assert all(leaf.grad is not None and not bool(leaf.grad.any()) for leaf in leaves)
    features = torch.eye(3, device=device)
    everything = torch.arange(3, device=device)
    empty_and_full = torch.tensor([0, 0, 3], device=device)
    value = mask_bce(features[:2], features, empty_and_full, everything, 1.0, balanced)
    losses = [1 + FLOOR, math.log(2), math.log(2), FLOOR, math.log(2), math.log(2)]  # one kind of point: plain mean
    assert float(value) == pytest.approx(sum(losses) / 6)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 3000), st.integers(0, 20)),
    st.floats(-20, 20),
    st.booleans(),
    st.integers(0, 2**31),
    st.integers(1, 4),
)
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    sizes: tuple[int, int, int], scale: float, balanced: bool, seed: int, threads: int
) -> None:
    of_masks, of_points, offsets, ids = data(*sizes, seed=seed)
    queries = scale * torch.nn.functional.normalize(of_masks)
    with torch_threads(threads):
        got = torch.ops.geoguide3d.mask_bce(queries, of_points, offsets, ids, balanced, 3)
    expected = mask_bce_reference(queries, of_points, offsets, ids, balanced, 3)
    lengths = of_points.norm(dim=1, keepdim=True)  # errors of points' gradients grow as these shrink
    for ours, theirs, unit in zip(got, expected, (1, 1, lengths), strict=True):
        torch.testing.assert_close(unit * ours, unit * theirs, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    of_masks, of_points, offsets, ids = data(30, 20_000, 17, torch.float32, device)
    first = torch.ops.geoguide3d.mask_bce(of_masks, of_points, offsets, ids, True, 3)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again = torch.ops.geoguide3d.mask_bce(of_masks, of_points, offsets, ids, True, 3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_float32_logarithm_and_slope_are_accurate_for_every_logit(device: str) -> None:
    logits = torch.cat([torch.linspace(-75, 75, 4001), torch.logspace(-30, 1.8, 500), -torch.logspace(-30, 1.8, 500)])
    points = torch.ones(1, 1, device=device)  # of length 1: the queries are the logits
    queries = logits[:, None].to(device)
    none = torch.zeros(len(logits) + 1, dtype=torch.int64, device=device)
    ids = torch.zeros(0, dtype=torch.int64, device=device)
    for k in range(0, len(logits), 250):
        one = queries[k : k + 1]
        value, slope, _ = torch.ops.geoguide3d.mask_bce(one, points, none[:2], ids, False, 1)
        exact = one.double()
        torch.testing.assert_close(value.double(), torch.nn.functional.softplus(exact)[0, 0], rtol=5e-7, atol=0)
        torch.testing.assert_close(slope.double(), exact.sigmoid(), rtol=5e-7, atol=0)
    _, slopes, _ = torch.ops.geoguide3d.mask_bce(queries, points.expand(40, 1), none, ids, False, 1)  # whole vectors
    torch.testing.assert_close(slopes.double() * len(logits), queries.double().sigmoid(), rtol=2e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("m", "n", "c"), [(3, 9, 4), (1, 5, 1), (2, 0, 3), (0, 3, 2)])
def test_gradcheck(m: int, n: int, c: int, balanced: bool, device: str) -> None:
    of_masks, of_points, offsets, ids = data(m, n, c, torch.float64, device)
    leaves = (of_masks.requires_grad_(), of_points.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: mask_bce(a, b, offsets, ids, 3.0, balanced), leaves)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_shorter_than_the_limit_are_divided_by_it(device: str) -> None:
    of_masks, of_points, offsets, ids = data(4, 20, 3, torch.float64, device)
    of_points[3] *= 1e-10
    of_points[4] = 0
    of_masks[1] = 0
    leaves = [of_masks.requires_grad_(), of_points.requires_grad_()]
    unit = [torch.nn.functional.normalize(leaf, eps=1e-8) for leaf in leaves]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(unit[0] @ unit[1].T, dense(offsets, ids, 20))
    value = mask_bce(of_masks, of_points, offsets, ids)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves))


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_are_made_only_where_needed_and_keep_dtype(device: str) -> None:
    of_masks, of_points, offsets, ids = data(3, 50, 4, torch.float16, device)
    for bits, rows in ((0, [0, 0]), (1, [3, 0]), (2, [0, 50])):
        parts = torch.ops.geoguide3d.mask_bce(of_masks.float(), of_points, offsets, ids, False, bits)[1:]
        assert [len(part) for part in parts] == rows
    value = mask_bce(of_masks, of_points.requires_grad_(), offsets, ids)
    value.backward()
    assert value.dtype == torch.float32 and of_masks.grad is None
    assert of_points.grad is not None and of_points.grad.dtype == torch.float16
    mixed = mask_bce(of_masks.double(), of_points, offsets, ids)
    assert mixed.dtype == torch.float64
    torch.testing.assert_close(mixed.float(), value)


def test_backward_may_run_twice_where_the_graph_is_kept_and_never_has_a_second_derivative() -> None:
    of_masks, of_points, offsets, ids = data(3, 50, 4)
    leaves = [of_masks.requires_grad_(), of_points.requires_grad_()]
    value = mask_bce(of_masks, of_points, offsets, ids)
    once = torch.autograd.grad(value, leaves, retain_graph=True)
    twice = torch.autograd.grad(2 * value, leaves, retain_graph=True)
    thrice = torch.autograd.grad(3 * value, leaves)
    for a, b, c in zip(once, twice, thrice, strict=True):
        torch.testing.assert_close([2 * a, 3 * a], [b, c])
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(mask_bce(of_masks, of_points, offsets, ids), leaves, create_graph=True)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    of_masks, of_points, offsets, ids = data(3, 20, 4, torch.float32, device)
    overload = torch.ops.geoguide3d.mask_bce.default
    of_points.requires_grad_()
    torch.library.opcheck(overload, (of_masks, of_points, offsets, ids, False, 2))
    torch.library.opcheck(overload, (of_masks.requires_grad_(), of_points, offsets, ids, True, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def loss(of_masks: Tensor, of_points: Tensor, offsets: Tensor, ids: Tensor) -> Tensor:
        return mask_bce(of_masks.sin(), of_points * 2, offsets, ids, 3.0, True) * 2

    compiled_once = torch.compile(loss, fullgraph=True, dynamic=True, backend=count_compilations)
    for m, n in ((4, 40), (9, 60), (5, 33)):
        inputs = data(m, n, 3, torch.float32, device)
        torch.testing.assert_close(compiled_once(*inputs), loss(*inputs))
    assert calls == 1
    step = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    leaves = [inputs[0].requires_grad_(), inputs[1].requires_grad_()]
    torch.testing.assert_close(torch.autograd.grad(step(*inputs), leaves), torch.autograd.grad(loss(*inputs), leaves))


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    of_masks, of_points, offsets, ids = data(6, 300, 8, torch.float32, device)
    got = mask_bce(of_masks[:, 1::2], of_points.t().contiguous().t()[:, ::2], offsets, ids.repeat_interleave(2)[::2])
    expected = mask_bce(of_masks[:, 1::2].contiguous(), of_points[:, ::2].contiguous(), offsets, ids)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("outside", [-1, 5, 2**40])
def test_rejects_index_out_of_range(outside: int) -> None:
    with pytest.raises(ValueError, match=r"point_ids\[1\] = .* is outside \[0, 5\)"):
        mask_bce(torch.ones(1, 2), torch.ones(5, 2), torch.tensor([0, 2]), torch.tensor([1, outside]))


@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [1, 2, 2, 3], [0, 1, 2, 2], [0, 1, 5, 3]])
def test_rejects_offsets_that_do_not_ascend_from_0_to_the_number_of_ids(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must"):
        mask_bce(torch.ones(3, 2), torch.ones(5, 2), torch.tensor(offsets), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"point_ids hold 1|offsets must"):
        mask_bce(torch.ones(0, 2), torch.ones(5, 2), torch.tensor([0]), torch.tensor([0]))


def test_rejects_a_point_twice_in_a_mask() -> None:
    ids = torch.tensor([3, 4, 4, 1, 4])
    assert float(mask_bce(torch.ones(2, 2), torch.ones(5, 2), torch.tensor([0, 2, 4]), ids[:4])) > 0  # in two masks
    with pytest.raises(ValueError, match="twice"):
        mask_bce(torch.ones(2, 2), torch.ones(5, 2), torch.tensor([0, 2, 5]), ids)


@pytest.mark.gpu
@pytest.mark.parametrize("ids", [[1, -1], [1, 5], [1, 1]])
def test_rejects_bad_ids_on_cuda(ids: list[int]) -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch; from geoguide3d.ops import mask_bce; "
        f"mask_bce(torch.ones(1, 2).cuda(), torch.ones(5, 2).cuda(), torch.tensor([0, 2]).cuda(), "
        f"torch.tensor({ids}).cuda()); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


def test_rejects_wrong_arguments() -> None:
    good, offsets, ids = torch.ones(2, 4), torch.tensor([0, 1, 1]), torch.tensor([0])
    with pytest.raises(ValueError, match=r"\(M, C\) and \(N, C\), got \(2, 4\), \(5, 3\)"):
        mask_bce(good, torch.ones(5, 3), offsets, ids)
    with pytest.raises(ValueError, match=r"must be floats, got torch.float32, torch.int64"):
        mask_bce(good, torch.ones(5, 4, dtype=torch.int64), offsets, ids)
    with pytest.raises(ValueError, match=r"offsets must be \(3,\) int64 for 2 masks, got \(2,\) torch.int64"):
        mask_bce(good, good, offsets[:2], ids)
    with pytest.raises(ValueError, match=r"point_ids must be \(E,\) int64, got \(1,\) torch.int32"):
        mask_bce(good, good, offsets, ids.int())
    with pytest.raises(ValueError, match=r"offsets must be on cpu as point_features are, got meta"):
        mask_bce(good, good, offsets.to("meta"), ids)
