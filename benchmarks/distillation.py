"""One optimisation step at N = 150k, C = 768, G = 1232, 2000 superpoints, 100 masks: what GeoGuide's losses cost.

losses       the objective, forward and backward, to the adapter's output and to its own heads
  ours       geoguide3d.distillation.objective
  plain      the same mathematics in plain torch (benchmarks/cases/plain_objective.py)
  limit      the matrix products that no form of the equations avoids, by torch on the whole shapes
whole step   the adapter forward, the losses, backward, Adam
  limit      its dense layers alone, adapter and heads, forward, backward, Adam; bf16 by autocast
as trained   the same in float32 with 20,000 points, which should take less than 2 s on 2 cores

Both sides draw the same masks and superpoints. Superpoints are pieces of 25 points in the order of the scan, masks runs
of 1,500; nine points of ten are taught. Runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import measure
import torch
from cases.plain_objective import plain_loss
from torch import Tensor

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.objective import Objective, preset
from geoguide3d.distillation.sample import Sample
from geoguide3d.geometry.masks import PointMasks

N, C, G, Q, M, HELD, PIECE = 150_000, 768, 1232, 2000, 100, 1500, 25
TRAINED_POINTS = 20_000
CASES = [f"{part} {name}" for part in ("losses", "step", "bf16", "trained") for name in ("recommended", "paper")]


@cache  # both presets of a size have the same
def make_sample(points: int) -> Sample:
    seed = torch.Generator().manual_seed(0)
    superpoints = (torch.randperm(points // PIECE, generator=seed) % Q)[torch.arange(points) // PIECE]
    first = torch.randint(0, points - HELD, (M, 1), generator=seed)
    masks = PointMasks(torch.arange(M + 1) * HELD, (first + torch.arange(HELD)).flatten(), points)
    geometric, targets = torch.randn(points, G, generator=seed), torch.randn(points, C, generator=seed)
    taught = torch.rand(points, generator=seed) < 0.9
    return Sample(geometric, targets * taught[:, None], taught, superpoints, masks)


def make_objective(name: str) -> Objective:
    torch.manual_seed(1)
    mean = 0.8 * torch.nn.functional.normalize(torch.randn(C), dim=0)
    objective = Objective(preset(name), G, C, mean)
    if objective.uncertainty is not None:  # as after some steps: at the start its first layer has no gradient
        torch.nn.init.normal_(objective.uncertainty.score.weight, std=0.1)
    return objective


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def losses(objective: Objective, sample: Sample, loss: Callable[[Tensor], Tensor]) -> measure.Side:
    """Returns a side that computes the loss and its gradients by outputs and heads."""
    semantic = torch.randn(N, C, generator=generator()).requires_grad_()
    leaves = [semantic, *objective.parameters()]

    def run() -> tuple[Tensor, ...]:
        value = loss(semantic)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return run


def agree(ours: tuple[Tensor, ...], plain: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-5, atol=0)
    for got, expected in zip(ours[1:], plain[1:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def products(objective: Objective) -> measure.Side:
    """Returns a side with the matrix products of the masks and of the uncertainty head."""
    masks, points, logits = torch.randn(64, C), torch.randn(N, C), torch.empty(64, N)
    inputs, hidden = (
        torch.randn(N, G + C),
        0 if objective.uncertainty is None else objective.settings.usd.hidden_channels,
    )
    weight = torch.randn(hidden, G + C)

    def run() -> tuple[Tensor, ...]:
        torch.mm(masks, points.T, out=logits)
        made = (logits.T @ masks, logits @ points)
        return made if hidden == 0 else (*made, (inputs @ weight.T).T @ inputs)

    return run


def losses_rows(name: str, sample: Sample, runs: int) -> list[measure.Row]:
    objective = make_objective(name)
    sides = {
        "ours": losses(objective, sample, lambda semantic: objective(semantic, sample, generator())["loss"]),
        "plain": losses(objective, sample, lambda semantic: plain_loss(objective, semantic, sample, generator())),
        "limit": products(objective),
    }
    row = measure.compare(f"losses, {name}", sides, aim=3.0, runs=runs, check=agree)
    ours, plain = row.peak_bytes["ours"], row.peak_bytes["plain"]
    if ours is None or plain is None:
        raise SystemExit("this system does not tell the peak of memory")
    return [row, measure.sizes(f"losses, {name}, peak", ours=ours, plain=plain, aim=3.0)]


def step(adapter: Adapter, objective: Objective, sample: Sample, half: bool) -> measure.Side:
    """Returns a side that is one whole step."""
    parameters = [*adapter.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-6)

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = objective(adapter(sample.geometric), sample, generator())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def dense_layers(adapter: Adapter, objective: Objective, points: int, half: bool) -> measure.Side:
    """Returns a side with the linear layers of the step alone, and Adam; what they read and get back is made before."""
    seed = generator()
    layers = [(adapter.expand, points, False), (adapter.project, points, True)]
    if objective.mask_head is not None:
        layers.append((objective.mask_head, 64, True))
    if objective.uncertainty is not None:
        layers.append((objective.uncertainty.expand, points, False))
    dtype = torch.bfloat16 if half else torch.float32
    inputs = [
        torch.randn(rows, layer.in_features, generator=seed).to(dtype).requires_grad_(through)
        for layer, rows, through in layers
    ]
    grads = [torch.randn(rows, layer.out_features, generator=seed).to(dtype) for layer, rows, _ in layers]
    parameters = [parameter for layer, _, _ in layers for parameter in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-6)

    def run() -> None:
        optimizer.zero_grad()
        for (layer, _, through), rows, grad in zip(layers, inputs, grads, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                made = layer(rows)
            made.backward(grad, inputs=[*([rows] if through else []), *layer.parameters()])
            rows.grad = None
        optimizer.step()

    return run


def step_row(name: str, sample: Sample, half: bool, runs: int) -> measure.Row:
    objective, adapter = make_objective(name), Adapter(G, C)
    sides = {
        "ours": step(adapter, objective, sample, half),
        "limit": dense_layers(adapter, objective, len(sample), half),
    }
    case = f"whole step, {name}, {'bf16' if half else 'float32'}, {len(sample)} points"
    return measure.compare(case, sides, aim=1 / 1.2, against="limit", runs=runs)


def main() -> None:
    options = measure.start(__doc__, CASES)
    rows = []
    for case in options.cases:
        part, name = case.split()
        sample = make_sample(TRAINED_POINTS if part == "trained" else N)
        if part == "losses":
            rows += losses_rows(name, sample, options.runs)
        else:
            rows.append(step_row(name, sample, part == "bf16", options.runs))
    measure.report("distillation", rows, as_json=options.json)


if __name__ == "__main__":
    main()
