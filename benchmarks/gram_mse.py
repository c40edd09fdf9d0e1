"""Mean squared difference of two Gram matrices, rows normalised, forward and gradient of the semantic side.

ours    geoguide3d.ops.gram_mse
plain   the factored form in plain torch under autograd: ‖GᵀG‖² − 2‖GᵀS‖² + ‖SᵀS‖², accurate only while the two differ
naive   both N × N matrices under autograd

Rows of the two sides are noisy views of the same hidden directions. Runs on the GPU where there is one and the CUDA
kernels are built, else on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from torch import Tensor

from geoguide3d.ops import compiled
from geoguide3d.ops.gram_mse import gram_mse

G, C = 1232, 768  # channels of Sonata and of CLIP ViT-L/14
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"
Loss = Callable[[Tensor, Tensor], Tensor]


def factored(geometric: Tensor, semantic: Tensor) -> Tensor:
    g, s = torch.nn.functional.normalize(geometric), torch.nn.functional.normalize(semantic)
    squares = (g.T @ g).square().sum() - 2 * (g.T @ s).square().sum() + (s.T @ s).square().sum()
    return squares / len(g) ** 2


def naive(geometric: Tensor, semantic: Tensor) -> Tensor:
    g, s = torch.nn.functional.normalize(geometric), torch.nn.functional.normalize(semantic)
    return torch.nn.functional.mse_loss(g @ g.T, s @ s.T)


def inputs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, 32, generator=generator)
    sides = [
        hidden @ torch.randn(32, width, generator=generator) + torch.randn(n, width, generator=generator)
        for width in (G, C)
    ]
    return sides[0].to(DEVICE), sides[1].to(DEVICE).requires_grad_()


def step(loss: Loss, geometric: Tensor, semantic: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """Returns a side that computes the loss and its gradient by the semantic side."""

    def run() -> tuple[Tensor, Tensor]:
        value = loss(geometric, semantic)
        return value.detach(), torch.autograd.grad(value, semantic)[0]

    return run


def agree(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(ours[1], plain[1], rtol=1e-3, atol=1e-4 * float(plain[1].abs().max()))


def time_row(n: int, runs: int, aim: float | None, *, with_naive: bool) -> measure.Row:
    geometric, semantic = inputs(n)
    sides: dict[str, measure.Side] = {
        "ours": step(gram_mse, geometric, semantic),
        "plain": step(factored, geometric, semantic),
    }
    if with_naive:
        sides["naive"] = step(naive, geometric, semantic)
    return measure.compare(f"N={n}, G={G}, C={C}, forward + backward", sides, aim=aim, runs=runs, check=agree)


def peak_row(n: int) -> measure.Row:
    geometric, semantic = inputs(n)
    peak = measure.peak_bytes(step(gram_mse, geometric, semantic))
    if peak is None:
        raise SystemExit("this system does not tell the peak of memory")
    return measure.sizes(f"N={n}, peak; limit 1 GB", ours=peak, limit=1e9, aim=1.0, against="limit")


def main() -> None:
    options = measure.start(__doc__)
    rows = [
        time_row(8192, options.runs, 1.3, with_naive=True),
        time_row(2048, options.runs, None, with_naive=True),
        time_row(512, options.runs, None, with_naive=True),
        time_row(64, options.runs, None, with_naive=True),
        peak_row(50_000),
    ]
    measure.report("gram_mse", rows, as_json=options.json)


if __name__ == "__main__":
    main()
