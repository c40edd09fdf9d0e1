"""cosine_scores, cosine_top1 and relevancies: kernels against references, gradients, ties, NaN, edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import cosine_query as ops
from geoguide3d.ops import cosine_scores, cosine_top1, relevancy_scores, relevancy_top1
from geoguide3d.ops.kernels import compiled

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8]
CASES = [  # N, C, K
    (0, 3, 4),
    (1, 1, 1),
    (2, 768, 20),
    (49, 16, 5),  # a tile and a row
    (1000, 33, 7),
    (5, 0, 2),
    (300, 20, 70),
    (10, 4000, 3),
    (20_011, 6, 33),
]
TOLERANCE = {torch.float64: 1e-12}  # 1e-5 in float32
NAN, INF = float("nan"), float("inf")
Op = Callable[..., Any]
QUERIES: list[Op] = [
    cosine_scores,
    cosine_top1,
    lambda features, text, *scale: relevancy_scores(features, text, text, 10.0, *scale),
    lambda features, text, *scale: relevancy_top1(features, text, text, 10.0, *scale),
]


def sides(n: int, c: int, k: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """(features, text), the same for the same sizes on every device; text in the type of the scores."""
    generator = torch.Generator().manual_seed(n + 10 * c + 100 * k)
    features = (20 * torch.randn(n, c, generator=generator, dtype=torch.float64)).to(dtype)
    text = torch.randn(k, c, generator=generator, dtype=torch.float64)
    return features.to(device), text.to(device, torch.float64 if dtype == torch.float64 else torch.float32)


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
@pytest.mark.parametrize(("n", "c", "k"), CASES)
def test_matches_reference(n: int, c: int, k: int, dtype: torch.dtype, device: str) -> None:
    features, text = sides(n, c, k, dtype, device)
    directions = torch.nn.functional.normalize(text, dim=1)
    tolerance = TOLERANCE.get(dtype, 1e-5)
    got = torch.ops.geoguide3d.cosine_scores(features, directions)
    expected = ops.cosine_scores_reference(features, directions)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    for positives in {1, (k + 1) // 2, k}:
        labels, best, rival = torch.ops.geoguide3d.cosine_top1(features, directions, positives)
        _, *expected_scores = ops.cosine_top1_reference(features, directions, positives)
        torch.testing.assert_close((best, rival), tuple(expected_scores), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(got[0].gather(1, labels[:, None])[:, 0], best, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_cosines_match_their_definition(device: str) -> None:
    features, text = sides(40, 7, 5, torch.float64, device)
    expected = torch.nn.functional.cosine_similarity(features[:, None], 3 * text[None], dim=2)
    torch.testing.assert_close(cosine_scores(features, 3 * text), expected)
    torch.testing.assert_close(cosine_top1(features, 3 * text), tuple(reversed(expected.max(dim=1))))


@pytest.mark.parametrize("device", DEVICES)
def test_relevancy_matches_lerf(device: str) -> None:
    features, text = sides(40, 7, 5, torch.float64, device)
    negatives, temperature = sides(1, 7, 3, torch.float64, device)[1], 4.0
    exponents = [(temperature * cosine_scores(features, vectors)).exp() for vectors in (text, negatives)]
    positive, negative = exponents[0][:, :, None], exponents[1][:, None, :]
    expected = (positive / (positive + negative)).amin(dim=2)
    torch.testing.assert_close(relevancy_scores(features, text, negatives, temperature), expected)
    best, labels = expected.max(dim=1)
    torch.testing.assert_close(relevancy_top1(features, text, negatives, temperature), (labels, best))
    assert relevancy_scores(text[:1], text[:1], -text[:1]).item() == pytest.approx(1 / (1 + 2.718281828**-20))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.integers(1, 3))
def test_top1_is_the_first_maximum_of_the_scores_bit_for_bit(n: int, c: int, k: int, seed: int, threads: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(-2, 3, (n, c), generator=generator).float()
    text = torch.randint(-1, 2, (k, c), generator=generator).float()[torch.randint(k, (k,), generator=generator)]
    with torch_threads(threads):
        labels, best = cosine_top1(features, text)
    scores = cosine_scores(features, text)
    if compiled == "none":
        torch.testing.assert_close(best, scores.amax(dim=1))
        return
    first = (scores == scores.amax(dim=1, keepdim=True)).int().argmax(dim=1)
    assert torch.equal(labels, first)
    assert torch.equal(best, scores.amax(dim=1))


@pytest.mark.parametrize("device", DEVICES)
def test_equal_texts_tie_and_the_lowest_wins(device: str) -> None:
    features, text = sides(500, 33, 45, torch.float32, device)
    winner = text[0].clone()
    features += 100 * winner
    for equal in [(0, 1, 2), (3, 4, 44), (7, 8, 21, 40), (41, 44)]:
        rivals = sides(1, 33, 46, torch.float32, device)[1]
        rivals[list(equal)] = winner
        assert bool((cosine_top1(features, rivals)[0] == equal[0]).all())


@pytest.mark.skipif(compiled == "none", reason="the reference's matrix product promises no order of additions")
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_bit_identical_whatever_runs_and_threads(dtype: torch.dtype) -> None:
    features, text = sides(20_000, 40, 9, dtype)
    scores, (labels, best) = cosine_scores(features, text), cosine_top1(features, text)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert torch.equal(cosine_scores(features, text), scores)
            again = cosine_top1(features, text)
        assert torch.equal(again[0], labels)
        assert torch.equal(again[1], best)
    # ... whatever the place of the row, and the number of rows and texts
    assert torch.equal(cosine_scores(features[17:40], text[2:5]), scores[17:40, 2:5])
    assert torch.equal(cosine_scores(features.T.contiguous().T, text), scores)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_bit_identical_from_run_to_run_on_cuda(dtype: torch.dtype) -> None:
    for k in (1, 9, 100):
        features, text = sides(20_000, 40, k, dtype, "cuda")
        first = (cosine_scores(features, text), *cosine_top1(features, text))
        for got, expected in zip((cosine_scores(features, text), *cosine_top1(features, text)), first, strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_zeros_score_0_and_get_the_lowest_label(dtype: torch.dtype, device: str) -> None:
    features, text = torch.zeros(50, 24, dtype=dtype, device=device), torch.eye(24, device=device)[:20]
    assert bool((cosine_scores(features, text) == 0).all())
    labels, best = cosine_top1(features, text)
    assert bool((labels == 0).all() & (best == 0).all())
    assert bool((relevancy_scores(features, text[:4], text[4:]) == 0.5).all())
    assert bool((cosine_scores(torch.ones(3, 24, device=device), 0 * text) == 0).all())  # so do texts of zeros


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_are_not_finite_have_no_label(device: str) -> None:
    features = torch.ones(8, 16, device=device)
    features[1, 3], features[2, 15], features[3, 0], features[5] = (
        NAN,
        INF,
        -INF,
        3e19,
    )  # the last one's square overflows
    wrong = torch.tensor([False, True, True, True, False, True, False, False], device=device)
    for k in (3, 50):
        text = torch.eye(16, device=device).repeat(4, 1)[:k]
        assert torch.equal(cosine_scores(features, text).isnan().all(dim=1), wrong)
        assert torch.equal(relevancy_scores(features, text, text).isnan().all(dim=1), wrong)
        for labels, best in (cosine_top1(features, text), relevancy_top1(features, text, text)):
            assert labels.tolist() == [-1 if one else 0 for one in wrong.tolist()]
            assert torch.equal(best.isnan(), wrong)
        text[1] = NAN  # a text that is not a number is never the best
        assert torch.equal(cosine_top1(features, text.flip(0))[0] == -1, wrong)
        assert bool(relevancy_top1(features, text[:1], text)[1].isnan().all())  # and as a negative it makes all NaN


@pytest.mark.parametrize("device", DEVICES)
def test_the_scale_of_int8_rows_cancels(device: str) -> None:
    stored = torch.randint(-128, 128, (60, 20), dtype=torch.int8, device=device)
    scale = torch.rand(60, device=device) + 1e-3
    _, text = sides(1, 20, 6, torch.float32, device)
    restored = cosine_scores(stored.float() * scale[:, None], text)
    torch.testing.assert_close(cosine_scores(stored, text, scale), restored)
    torch.testing.assert_close(cosine_scores(stored, text, scale.half()), restored)
    torch.testing.assert_close(cosine_top1(stored, text, scale)[1], restored.amax(dim=1))
    torch.testing.assert_close(
        relevancy_scores(stored, text, text, 1.0, scale).amax(dim=1), restored.new_full((60,), 0.5)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_short_and_long_rows_keep_their_cosines(device: str) -> None:
    row, text = torch.arange(1.0, 17.0, device=device), torch.ones(1, 16, device=device)
    rows = torch.stack([row * 1e-11, row * 1e-3, row, row * 1e15])
    torch.testing.assert_close(cosine_scores(rows, text), cosine_scores(row[None], text).expand(4, 1))
    longest = torch.full((1, 768), 65504.0, dtype=torch.float16, device=device)
    assert cosine_scores(longest, torch.ones(1, 768, device=device)).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "c", "k"), [(5, 3, 4), (1, 6, 1), (0, 2, 2), (3, 4, 0)])
def test_gradcheck(n: int, c: int, k: int, device: str) -> None:
    features, text = sides(n, c, k, torch.float64, device)
    features, text = (features / 20).requires_grad_(), text.requires_grad_()
    assert torch.autograd.gradcheck(cosine_scores, (features, text))
    assert torch.autograd.gradgradcheck(cosine_scores, (features, text))
    assert torch.autograd.gradcheck(torch.ops.geoguide3d.cosine_scores, (features, text))
    negatives = sides(1, c, 3, torch.float64, device)[1].requires_grad_()
    assert torch.autograd.gradcheck(relevancy_scores, (features, text, negatives))


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_keep_dtype_and_are_those_of_cosine_similarity(device: str) -> None:
    features, text = sides(30, 8, 4, torch.float16, device)
    features[7] = 0
    features, text = features.requires_grad_(), text.half().requires_grad_()
    weights = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).to(device)
    grads = torch.autograd.grad((cosine_scores(features, text) * weights).sum(), (features, text))
    unit = torch.nn.functional.normalize
    expected = (unit(features.float()) @ unit(text.float()).T * weights).sum()
    for got, want in zip(grads, torch.autograd.grad(expected, (features, text)), strict=True):
        assert got.dtype == torch.float16
        torch.testing.assert_close(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_top1_carries_no_gradient(device: str) -> None:
    features, text = sides(9, 4, 3, torch.float32, device)
    features, text = features.requires_grad_(), text.requires_grad_()
    outputs = [*cosine_top1(features, text), *relevancy_top1(features, text, text)]
    assert not any(output.requires_grad for output in outputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_opcheck(dtype: torch.dtype, device: str) -> None:
    features, text = sides(20, 5, 7, dtype, device)
    torch.library.opcheck(torch.ops.geoguide3d.cosine_top1.default, (features, text, 3))
    if features.is_floating_point():
        features.requires_grad_()
    torch.library.opcheck(torch.ops.geoguide3d.cosine_scores.default, (features, text.requires_grad_()))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def everything(features: Tensor, stored: Tensor, scale: Tensor, text: Tensor) -> Tensor:
        labels, best = cosine_top1(stored, text, scale)
        _, relevant = relevancy_top1(features, text, text[1:])
        scores = cosine_scores(features, text).sin() + relevancy_scores(features, text, text[1:])
        return scores.sum(dim=1) + best + relevant + labels

    compiled_once = torch.compile(everything, fullgraph=True, dynamic=True, backend=count_compilations)
    for n, k in [(40, 7), (60, 11), (33, 5)]:
        (features, text), (stored, _) = sides(n, 6, k, torch.float32, device), sides(n, 6, k, torch.int8, device)
        arguments = (features, stored, torch.ones(n, device=device), text)
        torch.testing.assert_close(compiled_once(*arguments), everything(*arguments))
    assert calls == 1


def test_compiled_training_step_gives_the_eager_gradient() -> None:
    features, text = sides(40, 3, 7, torch.float32)
    features.requires_grad_()

    def loss(features: Tensor) -> Tensor:
        return cosine_scores(features.tanh(), text).square().sum()

    step = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    (got,) = torch.autograd.grad(step(features), features)
    (expected,) = torch.autograd.grad(loss(features), features)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_accepts_noncontiguous(dtype: torch.dtype, device: str) -> None:
    features, text = sides(130, 32, 9, dtype, device)
    for view in (features[::2, 1::2], features[:, 3:8], features[5:], features.T[:, :32], features[:1].expand(70, 32)):
        words = text[:, : view.shape[1]]
        torch.testing.assert_close(cosine_scores(view, words), cosine_scores(view.clone(), words.clone()))
        torch.testing.assert_close(cosine_top1(view, words), cosine_top1(view.contiguous(), words.contiguous()))


@pytest.mark.parametrize("device", DEVICES)
def test_empty_inputs(device: str) -> None:
    features, text = sides(4, 6, 3, torch.float32, device)
    assert cosine_scores(features[:0], text).shape == (0, 3)
    assert cosine_scores(features, text[:0]).shape == (4, 0)
    assert [tuple(output.shape) for output in cosine_top1(features[:0], text)] == [(0,), (0,)]
    assert cosine_scores(features[:, :0], text[:, :0]).tolist() == [[0.0] * 3] * 4
    assert relevancy_scores(features, text[:0], text).shape == (4, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_more_elements_than_32_bits_can_count(device: str) -> None:
    row, text = sides(1, 1024, 2, torch.int8, device)
    n = 2**31 // 1024 + 1
    many = row.expand(n, 1024)  # stride 0: as many elements, little memory
    labels, best = cosine_top1(many, text)
    expected_label, expected = cosine_top1(row, text)
    assert bool((labels == expected_label).all() & (best == expected).all())


@pytest.mark.parametrize("query", QUERIES)
def test_rejects_wrong_dtype(query: Op) -> None:
    with pytest.raises(ValueError, match=r"features must be \(N, C\) floats or int8, got \(2, 4\) torch.int64"):
        query(torch.ones(2, 4, dtype=torch.int64), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"text must be \(K, 4\) floats .* got \(3, 4\) torch.int8"):
        query(torch.ones(2, 4), torch.ones(3, 4, dtype=torch.int8))
    with pytest.raises(ValueError, match=r"row_scale belongs to int8 features, got torch\.float32"):
        query(torch.ones(2, 4), torch.ones(3, 4), torch.ones(2))


@pytest.mark.parametrize("query", QUERIES)
def test_rejects_wrong_shapes(query: Op) -> None:
    with pytest.raises(ValueError, match=r"got \(4,\) torch.float32"):
        query(torch.ones(4), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"text must be \(K, 4\) floats for features \(2, 4\), got \(3, 5\)"):
        query(torch.ones(2, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"row_scale must be \(2,\) floats .* got \(3,\)"):
        query(torch.ones(2, 4, dtype=torch.int8), torch.ones(3, 4), torch.ones(3))


@pytest.mark.parametrize("query", QUERIES)
def test_rejects_another_device(query: Op) -> None:
    with pytest.raises(ValueError, match="text must be on cpu as features are, got meta"):
        query(torch.ones(2, 4), torch.ones(3, 4, device="meta"))
    with pytest.raises(ValueError, match="row_scale must be on cpu as features are, got meta"):
        query(torch.ones(2, 4, dtype=torch.int8), torch.ones(3, 4), torch.ones(2, device="meta"))


@pytest.mark.parametrize("bad", [-1.0, NAN, INF])
def test_rejects_scales_that_are_no_scales(bad: float) -> None:
    with pytest.raises(ValueError, match=f"row_scale must be finite and not negative, got {bad} in row 1"):
        cosine_scores(torch.ones(2, 4, dtype=torch.int8), torch.ones(3, 4), torch.tensor([1.0, bad]))


def test_rejects_nothing_to_compare_with() -> None:
    features, text = torch.ones(2, 4), torch.ones(3, 4)
    for nothing in (lambda: cosine_top1(features, text[:0]), lambda: relevancy_top1(features, text[:0], text)):
        with pytest.raises(ValueError, match=r"text has no rows, got \(0, 4\)"):
            nothing()
    with pytest.raises(ValueError, match=r"negatives has no rows, got \(0, 4\)"):
        relevancy_scores(features, text, text[:0])
    with pytest.raises(ValueError, match=r"negatives must be \(K, 4\) floats .* got \(3, 3\)"):
        relevancy_scores(features, text, text[:, :3])
    for temperature in (0.0, -1.0, NAN, INF):
        with pytest.raises(ValueError, match="temperature must be positive and finite"):
            relevancy_scores(features, text, text, temperature)
