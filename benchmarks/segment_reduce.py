"""Segment means of N = 150k rows against plain torch and against one read of the data.

Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from torch import Tensor

from geoguide3d.ops import compiled, segment_max, segment_mean, weighted_segment_mean

N, S = 150_000, 2000
EPS = 1e-6
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def plain_mean(values: Tensor, index: Tensor) -> Tensor:
    sums = values.new_zeros(S, values.shape[1]).index_add_(0, index, values)
    return sums / torch.bincount(index, minlength=S).clamp(min=1)[:, None]


def plain_weighted_mean(values: Tensor, weights: Tensor, index: Tensor) -> Tensor:
    sums = values.new_zeros(S, values.shape[1]).index_add(0, index, values * weights[:, None])
    return sums / (weights.new_zeros(S).index_add(0, index, weights) + EPS)[:, None]


def plain_max(values: Tensor, index: Tensor) -> Tensor:
    target = index[:, None].expand_as(values)
    return values.new_zeros(S, values.shape[1]).scatter_reduce(0, target, values, "amax", include_self=False)


def gradients(mean: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward: a side that returns the gradients of the mean's squared length."""
    return lambda: torch.autograd.grad(mean().square().sum(), leaves)


def agree(ours: object, plain: object) -> None:
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def mean_rows(runs: int) -> list[measure.Row]:
    values = torch.randn(N, 768, device=DEVICE)
    index = torch.randint(0, S, (N,), device=DEVICE)
    rows = []
    for order, ids, aim, against in (("random", index, 1.5, "plain"), ("sorted", index.sort()[0], 1 / 1.3, "limit")):
        sides: dict[str, measure.Side] = {
            "ours": lambda ids=ids: segment_mean(values, ids, S),
            "plain": lambda ids=ids: plain_mean(values, ids),
            "limit": lambda: values.sum(),
        }
        case = f"mean, {order} ids, C=768"
        rows.append(measure.compare(case, sides, aim=aim, against=against, runs=runs, check=agree))
    return rows


def narrow_row(runs: int) -> measure.Row:
    points = torch.randn(N, 3, device=DEVICE)
    index = torch.randint(0, S, (N,), device=DEVICE)
    sides = {"ours": lambda: segment_mean(points, index, S), "plain": lambda: plain_mean(points, index)}
    return measure.compare("mean, random ids, C=3", sides, runs=runs, check=agree)


def half_row(runs: int) -> measure.Row:
    values = torch.randn(N, 768, device=DEVICE).half()
    index = torch.randint(0, S, (N,), device=DEVICE)
    sides = {
        "ours": lambda: segment_mean(values, index, S),
        "plain": lambda: plain_mean(values.float(), index),
    }
    return measure.compare("mean of float16, random ids, C=768", sides, runs=runs, check=agree)


def max_row(runs: int) -> measure.Row:
    values = torch.randn(N, 768, device=DEVICE)
    index = torch.randint(0, S, (N,), device=DEVICE)
    sides = {
        "ours": lambda: segment_max(values, index, S),
        "plain": lambda: plain_max(values, index),
        "limit": lambda: values.sum(),
    }
    return measure.compare("max, random ids, C=768", sides, runs=runs, check=agree)


def weighted_rows(runs: int) -> list[measure.Row]:
    values = torch.randn(N, 768, device=DEVICE)
    weights = torch.rand(N, device=DEVICE).requires_grad_()
    learnt = values.clone().requires_grad_()
    index = torch.randint(0, S, (N,), device=DEVICE)
    rows = []
    for wanted, data, leaves in (("weights", values, [weights]), ("values and weights", learnt, [learnt, weights])):
        sides = {
            "ours": gradients(lambda data=data: weighted_segment_mean(data, weights, index, S, EPS), leaves),
            "plain": gradients(lambda data=data: plain_weighted_mean(data, weights, index), leaves),
        }
        case = f"weighted mean, forward + gradient of {wanted}, C=768"
        rows.append(measure.compare(case, sides, aim=2.0, runs=runs, check=agree))
    return rows


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    rows = [*mean_rows(options.runs), narrow_row(options.runs)]
    rows += [half_row(options.runs), max_row(options.runs), *weighted_rows(options.runs)]
    measure.report("segment_reduce", rows, as_json=options.json)


if __name__ == "__main__":
    main()
