"""gram_mse: kernel against reference, both forms, cancellation, gradients, edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.gram_mse import FORMS, Form, gram_mse, gram_mse_reference
from geoguide3d.ops.kernels import compiled

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
EXPLICIT: list[Form] = ["tiled", "factored"]
CASES = [  # N, G, C
    (0, 3, 4),
    (1, 1, 1),
    (7, 5, 3),
    (300, 33, 20),  # two tiles
    (2100, 5, 3),  # nine tiles, two chunks, gradients in five pieces
    (40, 530, 521),  # blocks of T on both sides of their border
    (257, 0, 4),
    (31, 7, 0),
]


def sides(n: int, g: int, c: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 10 * g + 100 * c)
    values = [torch.randn(n, width, generator=generator, dtype=torch.float64).to(dtype) for width in (g, c)]
    return values[0].to(device), values[1].to(device)


def op(geometric: Tensor, semantic: Tensor, normalize: bool, form: Form, gradients: int) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = torch.ops.geoguide3d.gram_mse(
        geometric, semantic, normalize, FORMS.index(form), gradients
    )
    return result


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected).norm() / expected.norm())


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
@pytest.mark.parametrize(("n", "g", "c"), CASES)
def test_matches_reference(n: int, g: int, c: int, dtype: torch.dtype, device: str) -> None:
    geometric, semantic = sides(n, g, c, dtype, device)
    tolerance = 1e-11 if dtype == torch.float64 else 5e-5  # of the greatest gradient
    for normalize in (True, False):
        expected = gram_mse_reference(geometric.double(), semantic.double(), normalize, 0, 3)
        for form in FORMS:
            got = op(geometric, semantic, normalize, form, 3)
            assert [tensor.dtype for tensor in got] == 3 * [torch.float64 if dtype == torch.float64 else torch.float32]
            for ours, theirs in zip(got, expected, strict=True):
                scale = float(theirs.abs().max()) if theirs.numel() else 0.0
                scale = max(scale, 1e-2 * (n <= 1))  # of one row, normalised, everything is 0
                torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("device", DEVICES)
def test_the_two_sides_may_differ_in_dtype(device: str) -> None:
    geometric, semantic = sides(50, 6, 4, torch.float16, device)
    expected = gram_mse(geometric.double(), semantic.double())
    for other in (torch.float32, torch.float64, torch.bfloat16):
        got = gram_mse(geometric, semantic.double().to(other))
        assert got.dtype == (torch.float64 if other == torch.float64 else torch.float32)
        torch.testing.assert_close(got.double(), expected, rtol=1e-2 if other == torch.bfloat16 else 1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
def test_known_answers(form: Form, device: str) -> None:
    two_axes = torch.eye(2, device=device)
    same = torch.tensor([[2.0, 0, 0], [5.0, 0, 0]], device=device)
    assert float(gram_mse(two_axes, same, form=form)) == pytest.approx(0.5)  # D = [[0, -1], [-1, 0]]
    literal = gram_mse(two_axes, same, normalize=False, form=form)  # D = [[-3, -10], [-10, -24]]
    assert float(literal) == pytest.approx((9 + 100 + 100 + 576) / 4)
    zero_row = torch.tensor([[1.0, 0.0], [0.0, 0.0]], device=device)
    assert float(gram_mse(two_axes, zero_row, form=form)) == pytest.approx(0.25)  # a row of zeros stays zero
    assert float(gram_mse(two_axes[:0], same[:0], form=form)) == 0.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
def test_a_rotation_of_the_features_changes_nothing(form: Form, device: str) -> None:
    geometric, semantic = sides(400, 12, 12, torch.float64, device)
    turn, _ = torch.linalg.qr(semantic[:12])
    wide = torch.cat([geometric @ turn, torch.zeros(400, 5, device=device, dtype=torch.float64)], dim=1)
    assert float(gram_mse(geometric, wide, form=form)) < 1e-14
    torch.testing.assert_close(gram_mse(geometric, semantic, form=form), gram_mse(wide, semantic, form=form))


@pytest.mark.skipif(compiled == "none", reason="the reference has one form")
@pytest.mark.parametrize("lengths", [0.0, 3.0])  # of what all rows share, as CLIP features do
@pytest.mark.parametrize("noise", [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0.0])
def test_float32_keeps_its_digits_where_both_sides_nearly_agree(noise: float, lengths: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2500, 40, generator=generator, dtype=torch.float64) + lengths
    turn, _ = torch.linalg.qr(torch.randn(60, 40, generator=generator, dtype=torch.float64))
    geometric = (hidden @ turn.T).float()
    semantic = (hidden + noise * torch.randn(2500, 40, generator=generator, dtype=torch.float64)).float()
    value, _, by_semantic = gram_mse_reference(geometric.double(), semantic.double(), True, 0, 2)
    unit = torch.nn.functional.normalize(geometric.double())
    share = float(value) / (2 * float((unit @ unit.T).square().mean()))  # what is left when the squares cancel

    tiled, _, by_tiled = op(geometric, semantic, True, "tiled", 2)
    assert abs(float(tiled) - float(value)) <= (1e-6 + 1e-8 / share**0.5 + 1e-13 / share) * float(value)
    assert relative(by_tiled, by_semantic) <= 1e-6 + 2e-7 / share**0.5
    factored, _, by_factored = op(geometric, semantic, True, "factored", 2)
    assert abs(float(factored) - float(value)) <= (1e-5 + 3e-14 / share) * float(value)
    assert relative(by_factored, by_semantic) <= 2e-5
    assert float(factored) >= 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_inputs_give_zero_up_to_rounding(dtype: torch.dtype, device: str) -> None:
    geometric, _ = sides(700, 31, 1, dtype, device)
    eps = 1e-16 if dtype == torch.float64 else 1e-7
    value, by_geometric, by_semantic = op(geometric, geometric.clone(), True, "tiled", 3)
    assert 0 <= float(value) <= eps**2
    assert float(torch.stack([by_geometric, by_semantic]).abs().max()) <= eps


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(0, 40), st.integers(0, 40), st.booleans(), st.integers(0, 2**31))
def test_forms_agree_for_any_sizes_and_order_does_not_matter(n: int, g: int, c: int, norm: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    geometric = torch.randn(n, g, generator=generator, dtype=torch.float64)
    semantic = torch.randn(n, c, generator=generator, dtype=torch.float64)
    order = torch.randperm(n, generator=generator)
    tiled = op(geometric, semantic, norm, "tiled", 3)
    factored = op(geometric[order], semantic[order], norm, "factored", 3)
    scale = 1.0 if norm else float(g * g + c * c)
    torch.testing.assert_close(tiled[0], factored[0], rtol=1e-11, atol=1e-13 * scale)
    for by_tiled, by_factored in zip(tiled[1:], factored[1:], strict=True):
        torch.testing.assert_close(by_tiled[order], by_factored, rtol=1e-9, atol=1e-13 * scale)
    swapped = op(semantic, geometric, norm, "tiled", 0)[0]
    torch.testing.assert_close(swapped, tiled[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", EXPLICIT)
@pytest.mark.parametrize("near", [False, True])
def test_results_are_bit_identical_from_run_to_run(near: bool, form: Form, device: str) -> None:
    geometric, semantic = sides(4500, 40, 40, torch.float32, device)
    if near:
        semantic = geometric + 1e-3 * semantic  # the factored form takes float64
    first = op(geometric, semantic, True, form, 3)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again = op(geometric, semantic, True, form, 3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", EXPLICIT)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("n", "g", "c"), [(9, 4, 3), (3, 1, 5), (0, 2, 2)])
def test_gradcheck(n: int, g: int, c: int, normalize: bool, form: Form, device: str) -> None:
    geometric, semantic = (side.requires_grad_() for side in sides(n, g, c, torch.float64, device))
    assert torch.autograd.gradcheck(lambda a, b: gram_mse(a, b, normalize, form=form), (geometric, semantic))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_shorter_than_the_limit_are_divided_by_it(device: str) -> None:
    geometric, semantic = sides(5, 3, 4, torch.float64, device)
    semantic[2] *= 1e-10
    semantic[3] = 0
    semantic.requires_grad_()
    value = gram_mse(geometric, semantic)
    value.backward()
    expected, _, by_semantic = gram_mse_reference(geometric, semantic, True, 0, 2)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(semantic.grad, by_semantic)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_are_made_only_where_needed_and_keep_dtype(device: str) -> None:
    geometric, semantic = sides(30, 4, 5, torch.float16, device)
    assert [len(part) for part in op(geometric, semantic, True, "auto", 2)[1:]] == [0, 30]
    assert not gram_mse(geometric, semantic).requires_grad
    value = gram_mse(geometric, semantic.requires_grad_())
    value.backward()
    assert geometric.grad is None
    assert semantic.grad is not None and semantic.grad.dtype == torch.float16 and value.dtype == torch.float32
    with torch.no_grad():
        assert not gram_mse(geometric, semantic).requires_grad


def test_backward_may_run_twice_where_the_graph_is_kept_and_never_has_a_second_derivative() -> None:
    geometric, semantic = (side.requires_grad_() for side in sides(20, 4, 5))
    value = gram_mse(geometric, semantic)
    once = torch.autograd.grad(value, (geometric, semantic), retain_graph=True)
    thrice = torch.autograd.grad(3 * value, (geometric, semantic), retain_graph=True)
    last = torch.autograd.grad(2 * value, (geometric, semantic))
    for a, b, c in zip(once, thrice, last, strict=True):
        torch.testing.assert_close([3 * a, 2 * a], [b, c])
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(gram_mse(geometric, semantic), semantic, create_graph=True)
    with pytest.raises(RuntimeError, match="called with gradients=1"):
        op(geometric, semantic, True, "auto", 1)[0].backward()


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    geometric, semantic = (side.requires_grad_() for side in sides(20, 3, 5, torch.float32, device))
    overload = torch.ops.geoguide3d.gram_mse.default
    for form in (0, 1, 2):
        torch.library.opcheck(overload, (geometric, semantic, True, form, 3))
    torch.library.opcheck(overload, (geometric.detach(), semantic, False, 0, 2))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def loss(geometric: Tensor, semantic: Tensor) -> Tensor:
        return gram_mse(geometric, semantic.sin()) * 2

    compiled_once = torch.compile(loss, fullgraph=True, dynamic=True, backend=count_compilations)
    for n in (40, 60, 33):
        geometric, semantic = sides(n, 3, 5, torch.float32, device)
        torch.testing.assert_close(compiled_once(geometric, semantic), loss(geometric, semantic))
    assert calls == 1
    step = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    semantic.requires_grad_()
    (got,) = torch.autograd.grad(step(geometric, semantic), semantic)
    (expected,) = torch.autograd.grad(loss(geometric, semantic), semantic)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", EXPLICIT)
def test_accepts_noncontiguous(form: Form, device: str) -> None:
    geometric, semantic = sides(300, 8, 6, torch.float32, device)
    got = gram_mse(geometric[::2, 1::2], semantic.t().contiguous().t()[::2], form=form)
    expected = gram_mse(geometric[::2, 1::2].contiguous(), semantic[::2].contiguous(), form=form)
    torch.testing.assert_close(got, expected)
    same = geometric[:1].expand(300, 8)  # strides of 0
    torch.testing.assert_close(gram_mse(same, semantic, form=form), gram_mse(same.clone(), semantic, form=form))


def test_nan_stays_visible() -> None:
    geometric, semantic = sides(300, 8, 6, torch.float32)
    semantic[7, 2] = float("nan")
    for form in EXPLICIT:
        assert bool(gram_mse(geometric, semantic, form=form).isnan())


def test_rejects_wrong_arguments() -> None:
    good = torch.ones(4, 3)
    with pytest.raises(ValueError, match=r"\(N, G\) and \(N, C\), got \(4, 3\), \(5, 3\)"):
        gram_mse(good, torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"got \(4,\), \(4, 3\)"):
        gram_mse(torch.ones(4), good)
    with pytest.raises(ValueError, match=r"must be floats, got torch.int64, torch.float32"):
        gram_mse(torch.ones(4, 3, dtype=torch.int64), good)
    with pytest.raises(ValueError, match=r"semantic must be on cpu as geometric is, got meta"):
        gram_mse(good, torch.ones(4, 3, device="meta"))
    with pytest.raises(ValueError, match=r"one of auto, tiled, factored, got 'naive'"):
        gram_mse(good, good, form="naive")  # type: ignore[arg-type]
