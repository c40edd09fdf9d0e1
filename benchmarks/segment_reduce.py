"""Segment ops on N = 150k rows against plain torch, torch-scatter (where it is installed) and the bytes to be touched.

Plain torch is the fastest composition found: embedding_bag over sorted rows for means of any order, index_add_ for
sorted ones. The limit reads (and writes) once what the op must read and write, with torch's own sum and fill_.
Runs on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType

import measure
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from geoguide3d.ops import (
    compiled,
    segment_max,
    segment_mean,
    segment_mean_csr,
    segment_min,
    segment_softmax,
    weighted_segment_mean,
    weighted_segment_mean_csr,
)

N, S, C = 150_000, 2000, 768
MASKS, COVER = 100, 3  # masks with COVER · N rows in all
EPS = 1e-6
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"
Sides = Mapping[str, measure.Side]


def optional_peer() -> ModuleType | None:
    """Returns torch_scatter where it is installed (and, on a GPU, was built for it)."""
    try:
        import torch_scatter
    except (ImportError, OSError):
        return None
    module: ModuleType = torch_scatter
    return module


SCATTER = optional_peer()


def peer(side: Callable[[ModuleType], object]) -> Sides:
    """Returns the side of torch-scatter, or none."""
    module = SCATTER
    return {} if module is None else {"torch-scatter": lambda: side(module)}


def begins_of(index: Tensor) -> Tensor:
    sizes = torch.bincount(index, minlength=S)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def plain_sum(values: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    order = index.argsort(stable=True)
    per_row = None if weights is None else weights[order]
    return embedding_bag(order, values, begins_of(index)[:-1], mode="sum", per_sample_weights=per_row)


def plain_mean(values: Tensor, index: Tensor) -> Tensor:
    return plain_sum(values, index).float() / torch.bincount(index, minlength=S).clamp(min=1)[:, None]


def plain_mean_sorted(values: Tensor, index: Tensor) -> Tensor:
    sums = values.new_zeros(S, values.shape[1]).index_add_(0, index, values)
    return sums / torch.bincount(index, minlength=S).clamp(min=1)[:, None]


def plain_weighted_mean(values: Tensor, weights: Tensor, index: Tensor) -> Tensor:
    return plain_sum(values, index, weights) / (weights.new_zeros(S).index_add(0, index, weights) + EPS)[:, None]


def plain_weighted_masks(values: Tensor, weights: Tensor, row_ids: Tensor, offsets: Tensor) -> Tensor:
    sums = embedding_bag(row_ids, values, offsets[:-1], mode="sum", per_sample_weights=weights[row_ids])
    return sums / (embedding_bag(row_ids, weights[:, None], offsets[:-1], mode="sum") + EPS)


def plain_extremum(values: Tensor, index: Tensor, reduce: str) -> Tensor:
    target = index[:, None].expand_as(values)
    return values.new_zeros(S, values.shape[1]).scatter_reduce(0, target, values, reduce, include_self=False)


def plain_softmax(scores: Tensor, index: Tensor) -> Tensor:
    maxima = scores.new_zeros(S).scatter_reduce(0, index, scores, "amax", include_self=False)
    powers = (scores - maxima[index]).exp()
    return powers / scores.new_zeros(S).index_add(0, index, powers)[index]


def gradients(mean: Callable[[], Tensor], leaves: list[Tensor], of: Tensor) -> measure.Side:
    """Forward and backward: a side that returns the gradients, given that of the mean."""
    return lambda: torch.autograd.grad(mean(), leaves, of)


def agree(ours: object, plain: object) -> None:
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def read(values: Tensor) -> Tensor:
    """Reads so many bytes as torch reads floats; its sum of float16 is slower than its memory."""
    return values.view(torch.float32).sum()


def with_limit_aim(row: measure.Row, times: float) -> list[measure.Row]:
    """The row, and again with the aim to stay within so many times of the limit."""
    return [row, replace(row, case=row.case + " (bytes)", aim=1 / times, against="limit")]


def mean_rows(values: Tensor, index: Tensor, runs: int) -> list[measure.Row]:
    in_order, offsets = index.sort()[0], begins_of(index)
    limit: Sides = {"limit": lambda: read(values)}
    random: Sides = {
        "ours": lambda: segment_mean(values, index, S),
        "plain": lambda: plain_mean(values, index),
        **peer(lambda scatter: scatter.scatter_mean(values, index, 0, dim_size=S)),
    }
    ordered: Sides = {
        "ours": lambda: segment_mean(values, in_order, S),
        "plain": lambda: plain_mean_sorted(values, in_order),
        **peer(lambda scatter: scatter.scatter_mean(values, in_order, 0, dim_size=S)),
    }
    csr: Sides = {
        "ours": lambda: segment_mean_csr(values, offsets),
        "plain": lambda: plain_mean_sorted(values, in_order),
        **peer(lambda scatter: scatter.segment_csr(values, offsets, reduce="mean")),
    }
    aim, against = (1.5, "plain") if SCATTER is None else (2.0, "peer")
    return [
        measure.compare("mean, random ids", random | limit, aim=aim, against=against, runs=runs, check=agree),
        measure.compare("mean, sorted ids", ordered | limit, aim=1 / 1.3, against="limit", runs=runs, check=agree),
        measure.compare("mean, CSR", csr | limit, aim=1 / 1.3, against="limit", runs=runs, check=agree),
    ]


def other_mean_rows(values: Tensor, index: Tensor, runs: int) -> list[measure.Row]:
    points, half = values[:, :3].contiguous(), values.half()
    narrow: Sides = {
        "ours": lambda: segment_mean(points, index, S),
        "plain": lambda: plain_mean_sorted(points, index),
        **peer(lambda scatter: scatter.scatter_mean(points, index, 0, dim_size=S)),
    }
    halves: Sides = {
        "ours": lambda: segment_mean(half, index, S),
        "plain": lambda: plain_mean(half, index),
        "limit": lambda: read(half),
        **peer(lambda scatter: scatter.scatter_mean(half, index, 0, dim_size=S)),
    }
    return [
        measure.compare("mean, random ids, C = 3", narrow, runs=runs, check=agree),
        # embedding_bag adds halves up in half precision, so nothing holds the two against each other
        measure.compare("mean of float16, random ids", halves, aim=1 / 1.5, against="limit", runs=runs),
    ]


def extremum_rows(values: Tensor, index: Tensor, runs: int) -> list[measure.Row]:
    learnt, of = values.clone().requires_grad_(), torch.randn(S, C, device=DEVICE)
    rows = []
    for name, ours, reduce in (("max", segment_max, "amax"), ("min", segment_min, "amin")):
        sides: Sides = {
            "ours": lambda ours=ours: ours(values, index, S),
            "plain": lambda reduce=reduce: plain_extremum(values, index, reduce),
            "limit": lambda: read(values),
            **peer(lambda scatter, name=name: getattr(scatter, f"scatter_{name}")(values, index, 0, dim_size=S)),
        }
        rows.append(measure.compare(f"{name}, random ids", sides, aim=1.0, runs=runs, check=agree))
    both: Sides = {
        "ours": gradients(lambda: segment_max(learnt, index, S), [learnt], of),
        "plain": gradients(lambda: plain_extremum(learnt, index, "amax"), [learnt], of),
        "limit": lambda: (read(values), read(values), torch.empty_like(values).fill_(0)),
    }
    # torch divides a gradient among equal rows, so nothing holds the two against each other
    return [*rows, measure.compare("max, forward + gradient", both, aim=1.0, runs=runs)]


def softmax_row(index: Tensor, runs: int) -> measure.Row:
    scores = torch.randn(N, device=DEVICE)
    sides: Sides = {
        "ours": lambda: segment_softmax(scores, index, S),
        "plain": lambda: plain_softmax(scores, index),
        **peer(lambda scatter: scatter.composite.scatter_softmax(scores, index, 0, dim_size=S)),
    }
    return measure.compare("softmax of N scores, random ids", sides, aim=1.0, runs=runs, check=agree)


def weighted_rows(values: Tensor, index: Tensor, runs: int) -> list[measure.Row]:
    weights, learnt = torch.rand(N, device=DEVICE).requires_grad_(), values.clone().requires_grad_()
    of = torch.randn(S, C, device=DEVICE)
    rows = []
    for wanted, data, leaves in (("weights", values, [weights]), ("values, weights", learnt, [learnt, weights])):
        written = values if data is learnt else values[:0]
        sides: Sides = {
            "ours": gradients(lambda data=data: weighted_segment_mean(data, weights, index, S, EPS), leaves, of),
            "plain": gradients(lambda data=data: plain_weighted_mean(data, weights, index), leaves, of),
            "limit": lambda written=written: (read(values), read(values), torch.empty_like(written).fill_(0)),
        }
        row = measure.compare(f"weighted mean + gradient of {wanted}", sides, aim=2.0, runs=runs, check=agree)
        rows += with_limit_aim(row, 1.5)
    return rows


def mask_rows(values: Tensor, runs: int) -> list[measure.Row]:
    size = COVER * N // MASKS
    row_ids = torch.cat([torch.randperm(N, device=DEVICE)[:size].sort()[0] for _ in range(MASKS)])
    offsets = torch.arange(MASKS + 1, device=DEVICE) * size
    weights, learnt = torch.rand(N, device=DEVICE).requires_grad_(), values.clone().requires_grad_()
    leaves, of = [learnt, weights], torch.randn(MASKS, C, device=DEVICE)
    mean: Sides = {
        "ours": lambda: segment_mean_csr(values, offsets, row_ids),
        "plain": lambda: embedding_bag(row_ids, values, offsets[:-1], mode="mean"),
        "limit": lambda: [read(values) for _ in range(COVER)],
    }
    weighted: Sides = {
        "ours": gradients(lambda: weighted_segment_mean_csr(learnt, weights, offsets, row_ids, EPS), leaves, of),
        "plain": gradients(lambda: plain_weighted_masks(learnt, weights, row_ids, offsets), leaves, of),
        "limit": lambda: ([read(values) for _ in range(COVER + 1)], torch.empty_like(values).fill_(0)),
    }
    case = f"{MASKS} masks of {COVER}N rows"
    return [
        measure.compare(f"mean, {case}", mean, aim=1.5, runs=runs, check=agree),
        measure.compare(f"weighted mean + gradients, {case}", weighted, aim=2.0, runs=runs, check=agree),
    ]


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    values, index = torch.randn(N, C, device=DEVICE), torch.randint(0, S, (N,), device=DEVICE)
    rows = [*mean_rows(values, index, options.runs), *other_mean_rows(values, index, options.runs)]
    rows += extremum_rows(values, index, options.runs)
    rows += [softmax_row(index, options.runs), *weighted_rows(values, index, options.runs)]
    rows += mask_rows(values, options.runs)
    measure.report("segment_reduce", rows, as_json=options.json)


if __name__ == "__main__":
    main()
