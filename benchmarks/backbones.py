"""Whole forward passes of the frozen backbones, with random weights, on 106k voxels of 2 cm.

ours    SparseUNet of SpUNet's published size (39 M parameters) on our kernels, with its norms folded into them;
        PTv3Encoder of Sonata's (108 M)
spconv  the same SpUNet with spconv's layers and the same weights, algorithm Native on the CPU; left out where it is
        not installed
upstream's way
        the same Sonata as upstream computes it without flash-attention: the attention matrices of all patches of a
        level at once, convolutions by spconv, in a process with the system's own allocator, which gives those
        gigabytes back after each block. The aim stands for 5 s where upstream's code was seen to take 17 to 18

The case "sonata-bfloat16" has the same Sonata under autocast as ours, in float32 as plain, and says how far they are
apart. The voxels are those of a furnished box, shrunk. Peaks are those of a fresh process that runs three passes,
weights and libraries included. Stages are those of the fastest of three more passes; a name's seconds hold what it
calls.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import measure
import torch
from cases.furnished_box import box_points
from cases.stages import Stages
from torch import Tensor, nn

from geoguide3d.backbones.ptv3 import layers
from geoguide3d.backbones.ptv3.config import SONATA
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.layers import MLP, PatchAttention
from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig, with_folded_norms
from geoguide3d.ops import compiled, voxel_hash
from geoguide3d.ops.allocator import keep_freed_memory
from geoguide3d.sparse.engines import sparse_engine
from geoguide3d.sparse.tensor import SparseTensor

DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"
HAS_SPCONV = importlib.util.find_spec("spconv") is not None
VOXEL_SIZE_M = 0.02
SHRUNK = 0.02 / 0.0428  # 106k voxels
STAGE_PASSES, FRESH_PASSES = 3, 3
SPUNET_CASE, SONATA_CASE, BFLOAT16_CASE = "spunet", "sonata", "sonata-bfloat16"
UPSTREAMS_WAY = "upstream's way"


@dataclass(frozen=True)
class Pass:
    """A network, its input, and the modules whose seconds are told apart."""

    network: nn.Module
    forward: Callable[[], Tensor]
    stages: dict[str, list[nn.Module]]


def voxels() -> tuple[Tensor, Tensor]:
    """Returns (cells (106k, 4), points (106k, 3)) of one batch, in the order of voxel_hash."""
    points = box_points(1_000_000) * SHRUNK
    cells, point_of_voxel, _ = voxel_hash(points, VOXEL_SIZE_M)
    return torch.nn.functional.pad(cells, (1, 0)).to(DEVICE), points[point_of_voxel].to(DEVICE)


def spunet_input() -> tuple[Tensor, Tensor]:
    """Returns what a SpUNet sees: (values (106k, 6), cells (106k, 4))."""
    cells, _ = voxels()
    return torch.randn(len(cells), 6, generator=torch.Generator().manual_seed(1)).to(DEVICE), cells


def spunet() -> Pass:
    torch.manual_seed(0)
    values, cells = spunet_input()
    network = SparseUNet(SparseUNetConfig()).to(DEVICE).eval().requires_grad_(False)
    folded = with_folded_norms(network)  # as the backbone runs it
    steps = range(network.config.steps)
    stages = {"stem": [folded.conv_input]}
    stages |= {f"{part}.{step}": [getattr(folded, part)[step]] for step in steps for part in ("down", "enc")}
    stages |= {f"{part}.{step}": [getattr(folded, part)[step]] for step in reversed(steps) for part in ("up", "dec")}
    return Pass(network, lambda: folded(SparseTensor.of(values, cells)).features, stages)


def sonata() -> Pass:
    torch.manual_seed(0)
    cells, points = voxels()
    values = torch.cat([points, torch.rand(len(cells), 6, device=DEVICE)], dim=1)
    network = PTv3Encoder(SONATA).to(DEVICE).eval().requires_grad_(False)
    stages: dict[str, list[nn.Module]] = {"embedding": [network.embedding]}
    stages |= {name: [stage] for name, stage in network.enc.items()}
    kinds = {"attention": PatchAttention, "MLPs": MLP, "layer norms": nn.LayerNorm}
    stages |= {f"· {name}": [m for m in network.modules() if isinstance(m, kind)] for name, kind in kinds.items()}
    return Pass(network, lambda: network(values, cells, points)[-1].features, stages)


def sonata_by_matrices() -> Pass:
    """Returns Sonata's pass with whole attention matrices."""
    made = sonata()

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (query / query.shape[-1] ** 0.5 @ key.mT).softmax(dim=-1) @ value

    def forward() -> Tensor:
        whole = patch.multiple(layers, scaled_dot_product_attention=attend, _VALUES_ON_CPU=1 << 60)
        with whole, sparse_engine("spconv" if HAS_SPCONV else "csrc"):
            return made.forward()

    return Pass(made.network, forward, {})


PASSES = {SPUNET_CASE: spunet, SONATA_CASE: sonata, UPSTREAMS_WAY: sonata_by_matrices}


def spunet_rows(runs: int) -> list[measure.Row]:
    made = spunet()
    sides: dict[str, measure.Side] = {"ours": no_grad(made.forward)}
    if HAS_SPCONV:
        from cases.spconv_twin import Voxels, spconv_twin

        values_and_cells, twin = spunet_input(), spconv_twin(made.network)
        sides["spconv"] = no_grad(lambda: twin(Voxels.of(*values_and_cells)).features)
        ours, theirs = sides["ours"](), sides["spconv"]()
        print(f"SpUNet against spconv: max abs error {(ours - theirs).abs().max():.1e} of {theirs.abs().max():.2f}")
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    case = f"SpUNet, {len(sides['ours']()):,} voxels"
    row = measure.compare(case, sides, aim=2.0 if HAS_SPCONV else None, against="peer", runs=runs)
    show_stages(case, made)
    return [row, *peak_rows(case, SPUNET_CASE)]


def sonata_rows(runs: int) -> list[measure.Row]:
    made = sonata()
    side = no_grad(made.forward)
    case = f"Sonata's PTv3, {len(voxels()[0]):,} voxels"
    row = measure.compare(case, {"ours": side}, runs=runs)
    show_stages(case, made)
    if DEVICE != "cpu":
        return [row, *peak_rows(case, SONATA_CASE)]
    theirs = no_grad(sonata_by_matrices().forward)
    torch.testing.assert_close(side(), theirs(), rtol=1e-3, atol=1e-3)
    peer = fresh_process(UPSTREAMS_WAY, keep_memory=False)
    row = replace(row, peer_name=UPSTREAMS_WAY, peer=peer.seconds, aim=3.5, against="peer")
    return [row, *peak_rows(case, SONATA_CASE, peer)]


def bfloat16_rows(runs: int) -> list[measure.Row]:
    made = sonata()
    plain = no_grad(made.forward)

    def ours() -> Tensor:
        with torch.autocast(DEVICE, torch.bfloat16):
            return plain()

    apart = 1 - torch.cosine_similarity(ours().float(), plain(), dim=1)
    print(f"Sonata's PTv3, bfloat16 against float32: 1 − cosine at most {apart.max():.1e}, mean {apart.mean():.1e}")
    assert float(apart.max()) <= 5e-3
    case = f"Sonata's PTv3, {len(voxels()[0]):,} voxels, bfloat16"
    return [measure.compare(case, {"ours": ours, "plain": plain}, runs=runs)]


def no_grad(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return torch.no_grad()(forward)


def show_stages(case: str, made: Pass) -> None:
    """Prints the stages of the fastest of a few passes."""
    passes = []
    for _ in range(STAGE_PASSES):
        stages = Stages()
        began = time.perf_counter()
        with stages.watching(made.stages), torch.no_grad():
            made.forward()
        passes.append((time.perf_counter() - began, stages))
    seconds, fastest = min(passes, key=lambda one: one[0])
    print(f"{case}, stages of a pass of {seconds * 1e3:.0f} ms:\n{fastest.table()}", flush=True)


@dataclass(frozen=True)
class Process:
    """What a fresh process took: seconds of the median pass, and bytes at its peak."""

    seconds: float
    peak: int


def peak_rows(case: str, ours: str, peer: Process | None = None) -> list[measure.Row]:
    """Returns the row of a fresh process that runs the network; none where the system does not tell."""
    if measure.status_bytes("VmHWM") is None:
        return []
    row = measure.Row(f"{case}, peak of a process", fresh_process(ours, keep_memory=True).peak, unit="bytes")
    return [row if peer is None else replace(row, peer_name=UPSTREAMS_WAY, peer=peer.peak)]


def fresh_process(key: str, keep_memory: bool) -> Process:
    command = [sys.executable, "-c", f"import backbones; backbones.print_process({key!r}, {keep_memory})"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()[-2:]
    return Process(float(seconds), int(peak))


def print_process(key: str, keep_memory: bool) -> None:
    if keep_memory:
        keep_freed_memory()
    made, seconds = PASSES[key](), []
    with torch.no_grad():
        for _ in range(FRESH_PASSES):
            began = time.perf_counter()
            made.forward()
            seconds.append(time.perf_counter() - began)
    # getrusage would count what the parent held when it started this process
    print(statistics.median(seconds), measure.status_bytes("VmHWM") or 0)


def main() -> None:
    rows_of = {SPUNET_CASE: spunet_rows, SONATA_CASE: sonata_rows, BFLOAT16_CASE: bfloat16_rows}
    options = measure.start(__doc__, cases=tuple(rows_of))
    rows = [row for case in options.cases for row in rows_of[case](options.runs)]
    measure.report("backbones", rows, as_json=options.json)


if __name__ == "__main__":
    main()
