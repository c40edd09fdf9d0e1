"""Binary cross-entropy between M = 100 masks and N = 150k points of C = 768 features, forward and both gradients.

ours    geoguide3d.ops.mask_bce
plain   normalise both, M × N logits, binary_cross_entropy_with_logits against a dense M × N target, autograd
limit   its matrix products alone, by torch on the whole shapes: logits, gradient of points, gradient of masks

Every mask is a run of 1,500 points, as an object is in a scan. The dense target is made before the clock starts. Runs
on the GPU where there is one and the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from torch import Tensor

from geoguide3d.ops import compiled
from geoguide3d.ops.mask_bce import mask_bce

M, N, C, HELD = 100, 150_000, 768, 1500
SCALE = 10.0
LOSS_WEIGHT = 0.1  # of this loss among others: what backward begins with is rarely 1
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def masks() -> tuple[Tensor, Tensor, Tensor]:
    """Returns offsets, point ids and the dense (M, N) target."""
    first = torch.randint(0, N - HELD, (M, 1), generator=torch.Generator().manual_seed(0))
    ids = first + torch.arange(HELD)
    offsets = torch.arange(M + 1) * HELD
    target = torch.zeros(M, N).scatter_(1, ids, 1.0)
    return offsets.to(DEVICE), ids.flatten().to(DEVICE), target.to(DEVICE)


def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    of_masks, of_points = torch.randn(M, C, generator=generator), torch.randn(N, C, generator=generator)
    return of_masks.to(DEVICE).requires_grad_(), of_points.to(DEVICE).requires_grad_()


def plain_loss(of_masks: Tensor, of_points: Tensor, target: Tensor, balanced: bool) -> Tensor:
    cosines = torch.nn.functional.normalize(of_masks) @ torch.nn.functional.normalize(of_points).T
    weights = None
    if balanced:
        held = target.sum(1, keepdim=True)
        weights = torch.where(target > 0, N / (2 * held), N / (2 * (N - held)))
    return torch.nn.functional.binary_cross_entropy_with_logits(SCALE * cosines, target, weights)


def step(loss: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """Returns a side that computes the loss and its gradients."""

    def run() -> tuple[Tensor, ...]:
        value = loss()
        return value.detach(), *torch.autograd.grad(LOSS_WEIGHT * value, leaves)

    return run


def agree(ours: tuple[Tensor, ...], plain: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-5, atol=0)
    for got, expected in zip(ours[1:], plain[1:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def time_row(balanced: bool, runs: int) -> measure.Row:
    offsets, ids, target = masks()
    of_masks, of_points = features()
    queries, points, logits = of_masks.detach(), of_points.detach(), torch.empty(M, N, device=DEVICE)

    def products() -> tuple[Tensor, ...]:
        torch.mm(queries, points.T, out=logits)
        return logits.T @ queries, logits @ points

    sides = {
        "ours": step(lambda: mask_bce(of_masks, of_points, offsets, ids, SCALE, balanced), [of_masks, of_points]),
        "plain": step(lambda: plain_loss(of_masks, of_points, target, balanced), [of_masks, of_points]),
        "limit": products,
    }
    case = f"{'balanced' if balanced else 'literal'}, M={M}, N={N}, C={C}, forward + backward"
    return measure.compare(case, sides, aim=1 / 1.3, against="limit", runs=runs, check=agree)


def peak_row(row: measure.Row) -> measure.Row:
    """Returns the peaks of a timed row as a row of their own, with their aim."""
    ours, plain = row.peak_bytes["ours"], row.peak_bytes["plain"]
    if ours is None or plain is None:
        raise SystemExit("this system does not tell the peak of memory")
    return measure.sizes(f"{row.case}, peak", ours=ours, plain=plain, aim=4.0)


def main() -> None:
    options = measure.start(__doc__)
    literal, balanced = time_row(False, options.runs), time_row(True, options.runs)
    measure.report("mask_bce", [literal, balanced, peak_row(literal), peak_row(balanced)], as_json=options.json)


if __name__ == "__main__":
    main()
