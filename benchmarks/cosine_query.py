"""cosine_top1 and relevancy_top1 against plain torch, one read of the features, and the arithmetic at sgemm's rate.

Plain divides the scores by the lengths of the rows, which spares it a normalised copy of the features; the naive way,
normalise + matmul + argmax, stands in the peer column.

The limit is max(one read of the features, 2·N·C·K / the rate of a large torch.mm), both measured here, in turn with the
other sides: the limit's side takes the longer of the two.
"""

from __future__ import annotations

import measure
import torch
from torch import Tensor

from geoguide3d.ops import compiled, cosine_scores, cosine_top1, relevancy_top1

N, C = 150_000, 768
SQUARE = 2048  # of the matrix product that tells the rate
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"
ROWS_AT_ONCE = 16_384  # of plain, where features become float32 on the way


def plain_scores(features: Tensor, text: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(text, dim=1)
    if features.dtype == torch.float32:
        return (features @ unit.T) / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-12)
    return torch.cat([plain_scores(rows.float(), text) for rows in features.split(ROWS_AT_ONCE)])


def plain_top1(features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    best, labels = plain_scores(features, text).max(dim=1)
    return labels, best


def naive_top1(features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    best, labels = (rows @ torch.nn.functional.normalize(text, dim=1).T).max(dim=1)
    return labels, best


def plain_relevancy(features: Tensor, text: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    scores = plain_scores(features, torch.cat([text, negatives]))
    best, labels = scores[:, : len(text)].max(dim=1)
    return labels, torch.sigmoid(10 * (best - scores[:, len(text) :].amax(dim=1)))


def limit(features: Tensor, k: int) -> measure.Side:
    """One read of the features, or as many multiplications of sgemm as the scores need, whichever takes longer."""
    words = features.view(torch.float32)  # the bytes of any type; sums of floats are fastest
    square = torch.randn(SQUARE, SQUARE, device=features.device)
    rows = max(1, round(N * C * k / SQUARE**2))
    product = square.new_empty(rows, SQUARE)
    left = torch.randn(rows, SQUARE, device=features.device)
    sides = {"read": lambda: words.sum(), "sgemm": lambda: torch.mm(left, square, out=product)}
    longest = max(sides, key=lambda name: measure.compare(name, {"ours": sides[name]}).ours)
    print(f"{features.dtype}, K = {k}: the limit is {longest}")
    return sides[longest]


def agree(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours[1], plain[1], rtol=1e-4, atol=1e-5)
    assert float((ours[0] == plain[0]).double().mean()) > 0.9999


def top1_row(features: Tensor, k: int, runs: int, aim: float | None = None) -> measure.Row:
    text = torch.randn(k, C, device=DEVICE)
    sides: dict[str, measure.Side] = {
        "ours": lambda: cosine_top1(features, text),
        "plain": lambda: plain_top1(features, text),
        "limit": limit(features, k),
    }
    if features.dtype == torch.float32 and k == 20:
        sides["naive"] = lambda: naive_top1(features, text)
    name = str(features.dtype).removeprefix("torch.")
    return measure.compare(f"top-1, {name}, K={k}", sides, aim=aim, against="limit", runs=runs, check=agree)


def scores_row(features: Tensor, runs: int) -> measure.Row:
    text = torch.randn(20, C, device=DEVICE)
    sides = {
        "ours": lambda: cosine_scores(features, text),
        "plain": lambda: plain_scores(features, text),
        "limit": limit(features, 20),
    }
    return measure.compare("all scores, float32, K=20", sides, runs=runs, check=torch.testing.assert_close)


def relevancy_row(features: Tensor, runs: int) -> measure.Row:
    text, negatives = torch.randn(20, C, device=DEVICE), torch.randn(4, C, device=DEVICE)
    sides = {
        "ours": lambda: relevancy_top1(features, text, negatives),
        "plain": lambda: plain_relevancy(features, text, negatives),
        "limit": limit(features, 24),
    }
    return measure.compare("relevancy top-1, float32, K=20, J=4", sides, runs=runs, check=agree)


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    features = torch.randn(N, C, device=DEVICE)
    rows = [top1_row(features, 20, options.runs, aim=1 / 1.3), scores_row(features, options.runs)]
    rows += [top1_row(features, 1, options.runs), top1_row(features, 200, options.runs)]
    rows += [relevancy_row(features, options.runs)]
    stored = {torch.float16: features.half(), torch.bfloat16: features.bfloat16(), torch.int8: (30 * features).char()}
    rows += [top1_row(stored[torch.float16], 1, options.runs, aim=1 / 2)]
    rows += [top1_row(narrow, 20, options.runs) for narrow in stored.values()]
    measure.report("cosine_query", rows, as_json=options.json)


if __name__ == "__main__":
    main()
