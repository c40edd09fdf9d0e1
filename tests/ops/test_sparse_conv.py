"""sparse_conv: kernels against the reference, gradients, threads, limits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.kernel_map import strided_map, submanifold_map
from geoguide3d.ops.sparse_conv import (
    sparse_conv,
    sparse_conv_reference,
    sparse_conv_weight_gradient_reference,
)
from tests.ops.segment_cases import DEVICES, count_compilations, torch_threads
from tests.ops.test_kernel_map import random_cells

TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 2e-6, torch.float64: 1e-14}
CASES = [(0, 4, 4), (1, 3, 5), (7, 1, 1), (1000, 32, 32), (1000, 6, 33), (517, 17, 48), (3001, 5, 2), (40, 200, 150)]

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]


def case(n: int, channels: int, width: int, kind: str = "submanifold", dtype: torch.dtype = torch.float64) -> Inputs:
    """Features, weight, bias, neighbours and transposed; weights scaled so that outputs are about 1."""
    generator = torch.Generator().manual_seed(n + channels + width)
    cells = random_cells(n, 12 if n < 2000 else 20, 1)
    neighbours, transposed = submanifold_map(cells, 3), None
    if kind != "submanifold":
        _, *maps = strided_map(cells, 2, 2)
        neighbours, transposed = maps if kind == "strided" else reversed(maps)
    rows = n if transposed is None else transposed.shape[1]
    features = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(width, len(neighbours), channels, generator=generator, dtype=torch.float64)
    bias = torch.randn(width, generator=generator, dtype=torch.float64)
    weight /= max(1, len(neighbours) * channels) ** 0.5
    return features.to(dtype), weight.to(dtype), bias.to(dtype), neighbours, transposed


def on(device: str, inputs: Inputs) -> list[Tensor | None]:
    return [None if tensor is None else tensor.to(device) for tensor in inputs]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
@pytest.mark.parametrize(("n", "channels", "width"), CASES)
def test_matches_reference(n: int, channels: int, width: int, kind: str, dtype: torch.dtype, device: str) -> None:
    inputs = case(n, channels, width, kind, dtype)
    wide = (*(tensor.double() for tensor in inputs[:3]), *inputs[3:])
    got = sparse_conv(*on(device, inputs))  # type: ignore[arg-type]
    assert (got.dtype, got.device.type) == (dtype, device)
    expected = sparse_conv_reference(*wide)  # type: ignore[arg-type]
    torch.testing.assert_close(got.cpu().double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", ["submanifold", "strided"])
@pytest.mark.parametrize(("n", "channels", "width"), CASES)
def test_weight_gradient_matches_reference(
    n: int, channels: int, width: int, kind: str, dtype: torch.dtype, device: str
) -> None:
    features, _, _, neighbours, _ = case(n, channels, width, kind, dtype)
    grad = (torch.randn(neighbours.shape[1], width, dtype=torch.float64) / max(1, n) ** 0.5).to(dtype)
    got = torch.ops.geoguide3d.sparse_conv_weight_gradient(features.to(device), grad.to(device), neighbours.to(device))
    assert got.dtype == dtype
    expected = sparse_conv_weight_gradient_reference(features.double(), grad.double(), neighbours)
    torch.testing.assert_close(got.cpu().double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_gradcheck(kind: str, device: str) -> None:
    features, weight, bias, neighbours, transposed = on(device, case(30, 3, 4, kind))
    assert features is not None and weight is not None and bias is not None
    inputs = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    assert torch.autograd.gradcheck(lambda f, w, b: sparse_conv(f, w, b, neighbours, transposed), inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
def test_half_types_have_gradients(device: str) -> None:
    features, weight, bias, neighbours, _ = case(50, 8, 8)
    exact = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
    sparse_conv(*exact, neighbours, None).square().sum().backward()
    half = [tensor.detach().to(device).half().requires_grad_() for tensor in (features, weight, bias)]
    sparse_conv(*half, neighbours.to(device), None).float().square().sum().backward()
    for ours, expected in zip(half, exact, strict=True):
        assert ours.grad is not None and expected.grad is not None
        assert (ours.grad.cpu().double() - expected.grad).norm() < 5e-3 * expected.grad.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_rows_that_are_not_finite_stay_where_they_are_read(dtype: torch.dtype, device: str) -> None:
    features, weight, bias, neighbours, _ = case(600, 20, 40, dtype=dtype)
    grad = features @ weight[:, 0].T
    clean = torch.ops.geoguide3d.sparse_conv_weight_gradient(features, grad, neighbours)
    lone = int((neighbours >= 0).sum(0).argmin())
    features[lone], grad[lone] = torch.nan, torch.inf
    reads = (neighbours == lone).any(0)
    got = sparse_conv(*on(device, (features, weight, bias, neighbours, None)))  # type: ignore[arg-type]
    assert torch.equal(torch.isnan(got).any(1).cpu(), reads)
    weights = torch.ops.geoguide3d.sparse_conv_weight_gradient(*on(device, (features, grad, neighbours)))  # type: ignore[arg-type]
    untouched = ~((neighbours == lone).any(1) | (neighbours[:, lone] >= 0))
    assert 0 < int(untouched.sum()) < 27
    torch.testing.assert_close(weights[:, untouched].cpu(), clean[:, untouched], rtol=2e-3, atol=2e-2)
    assert not torch.isfinite(weights[:, ~untouched]).any()


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    for kind in ("submanifold", "strided"):
        inputs = on(device, case(40, 3, 4, kind, torch.float32))
        inputs = [t.requires_grad_() if t is not None and t.is_floating_point() else t for t in inputs]
        torch.library.opcheck(torch.ops.geoguide3d.sparse_conv.default, tuple(inputs))
        features, _, _, neighbours, _ = inputs
        assert features is not None and neighbours is not None
        grad = torch.randn(neighbours.shape[1], 4, device=device)
        gradient = torch.ops.geoguide3d.sparse_conv_weight_gradient.default
        torch.library.opcheck(gradient, (features.detach(), grad, neighbours))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def step(features: Tensor, weight: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
        return sparse_conv(features.relu(), weight, bias, neighbours, None).tanh()

    compiled, calls = count_compilations(step)
    for n in (40, 60, 33):
        inputs = on(device, case(n, 5, 7))[:4]
        torch.testing.assert_close(compiled(*inputs), step(*inputs))  # type: ignore[arg-type]
    assert len(calls) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 700), st.integers(0, 40), st.integers(0, 40), st.integers(0, 9))
def test_any_map_is_the_sum_over_its_pairs(seed: int, outputs: int, channels: int, width: int, taps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = outputs + 3
    features = torch.randint(-4, 5, (rows, channels), generator=generator).float()  # whole numbers: sums are exact
    weight = torch.randint(-4, 5, (width, taps, channels), generator=generator).float()
    neighbours = torch.stack(
        [torch.randperm(rows, generator=generator)[:outputs] for _ in range(taps)] or [torch.empty(0, outputs)]
    )
    neighbours = neighbours.reshape(taps, outputs).int()
    neighbours[torch.rand(taps, outputs, generator=generator) < 0.6] = -1
    transposed = torch.full((taps, rows), -1, dtype=torch.int32)
    for tap in range(taps):
        there = (neighbours[tap] >= 0).nonzero().squeeze(1)
        transposed[tap, neighbours[tap, there]] = there.int()
    got = sparse_conv(features, weight, None, neighbours, transposed)
    padded = torch.cat([features, features.new_zeros(1, channels)])[neighbours.long()]  # (K, P, C)
    assert torch.equal(got, torch.einsum("kpc,dkc->pd", padded, weight))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "channels", "width"), [(3001, 5, 33), (600, 96, 100)])
def test_results_are_the_same_from_run_to_run_and_for_any_number_of_threads(
    n: int, channels: int, width: int, device: str
) -> None:
    features, weight, bias, neighbours, _ = on(device, case(n, channels, width, dtype=torch.float32))
    assert features is not None and neighbours is not None

    def run() -> tuple[Tensor, Tensor]:
        out = torch.ops.geoguide3d.sparse_conv(features, weight, bias, neighbours, None)
        return out, torch.ops.geoguide3d.sparse_conv_weight_gradient(features, out, neighbours)

    expected = run()
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    features, weight, bias, neighbours, transposed = on(device, case(100, 6, 5, "strided"))
    assert features is not None and weight is not None and neighbours is not None
    expected = sparse_conv(features, weight, bias, neighbours, transposed)
    strided = sparse_conv(
        features.T.contiguous().T,
        weight.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        bias,
        neighbours.T.contiguous().T,
        transposed,
    )
    assert torch.equal(strided, expected)
    assert torch.equal(
        sparse_conv(features[:1].expand(100, 6), weight, bias, neighbours, transposed)[0],
        sparse_conv(features[:1].repeat(100, 1), weight, bias, neighbours, transposed)[0],
    )


@pytest.mark.parametrize("bad", [-2, 100])
def test_rejects_a_row_out_of_range(bad: int) -> None:
    features, weight, bias, neighbours, _ = case(100, 3, 4)
    neighbours[13, 42] = bad
    with pytest.raises(ValueError, match=rf"neighbours\[13, 42\] = {bad} is outside \[-1, 100\)"):
        sparse_conv(features, weight, bias, neighbours, None)
    with pytest.raises(ValueError, match=rf"neighbours\[13, 42\] = {bad} is outside \[-1, 100\)"):
        torch.ops.geoguide3d.sparse_conv_weight_gradient(features, features, neighbours)


@pytest.mark.gpu
@pytest.mark.parametrize("call", ["sparse_conv(f, f.new_ones(5, 27, 5), None, n, None)", "gradient(f, f, n)"])
def test_a_row_out_of_range_stops_the_cuda_kernels(call: str) -> None:
    script = f"""
import torch
from geoguide3d.ops import sparse_conv
gradient = torch.ops.geoguide3d.sparse_conv_weight_gradient
f = torch.ones(100, 5, device="cuda")
n = torch.zeros(27, 100, dtype=torch.int32, device="cuda")
n[13, 42] = 100
{call}
torch.cuda.synchronize()
"""  # in a process of its own, because an assertion ends all CUDA work of a process
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


def test_rejects_what_does_not_fit() -> None:
    features, weight, bias, neighbours, transposed = case(100, 3, 4, "strided")
    good = {"features": features, "weight": weight, "bias": bias, "neighbours": neighbours, "transposed": transposed}
    for name, value, message in [
        ("features", features[:, 0], r"features must be \(M, C\) floats, got \(100,\)"),
        ("features", features.int(), r"features must be \(M, C\) floats, got .* torch.int32"),
        ("weight", weight[..., :2], r"weight must be \(D, K, 3\), got \(4, 8, 2\)"),
        ("weight", weight.float(), r"weight must be torch.float64 on cpu as features are, got torch.float32"),
        ("bias", bias[:3], r"bias must be \(4,\), got \(3,\)"),
        ("bias", bias.to("meta"), r"bias must be .* on cpu as features are, got .* on meta"),
        ("neighbours", neighbours[:7], r"neighbours must be \(8, …\) int32, got \(7, \d+\)"),
        ("neighbours", neighbours.long(), r"neighbours must be .* int32, got .* torch.int64"),
        ("neighbours", neighbours.to("meta"), "neighbours must be on cpu as features are, got meta"),
        ("transposed", neighbours, "the map must have a column for each of the 100 rows of features"),
        ("transposed", None, "the map must have a column for each of the 100 rows of features"),
    ]:
        with pytest.raises(ValueError, match=message):
            sparse_conv(**{**good, name: value})  # type: ignore[arg-type]
