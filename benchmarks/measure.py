"""The benchmark contract: times the sides in turn on the same data, prints a table and, with --json, one JSON line.

A benchmark is a script beside this file:

    import measure

    def main() -> None:
        options = measure.start(__doc__)                    # --json, --runs; allocator settings; needs the kernels
        rows = [
            measure.compare(
                "mean, random ids, C=768",
                {"ours": ours, "plain": plain, "limit": one_read, "torch-scatter": peer},
                aim=1.5,
                runs=options.runs,
                check=torch.testing.assert_close,           # called with what ours and plain returned
            ),
            measure.sizes("cache on disk", ours=1_000, plain=2_000, aim=2.0),   # bytes take the place of seconds
        ]
        measure.report("segment_reduce", rows, as_json=options.json)

Sides are functions without arguments; "ours" is required, "plain" is the best plain-torch composition of the same
mathematics, "limit" what no program can beat (one read of the data), and at most one other name is a peer. Every side
runs a few times to warm up and then at least five times, in turn; the row holds medians. An aim is a ratio: `aim=1.5`
asks for plain / ours >= 1.5, or for that of another column with `against="peer"` or `against="limit"`;
`aim=1 / 1.5` asks for ours to stay within 1.5 times of it.

Peak bytes are what one call adds to the resident memory (on Linux) or to torch's CUDA allocations, result included.
Faults are minor page faults per call. Both are null where the system does not tell.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported

import torch
from machine import this_machine

from geoguide3d.ops.allocator import keep_freed_memory

Side = Callable[[], Any]
Column = Literal["plain", "peer", "limit"]
MIN_RUNS = 5
WARM_UPS = 3  # by then the heap has mostly stopped growing
_RESERVED = ("ours", "plain", "limit")


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds, or bytes where `unit` says so, of each side."""

    case: str
    ours: float
    plain: float | None = None
    peer_name: str | None = None
    peer: float | None = None
    limit: float | None = None
    aim: float | None = None
    against: Column = "plain"
    unit: Literal["s", "bytes"] = "s"
    peak_bytes: Mapping[str, int | None] = field(default_factory=dict)  # by side: ours, plain
    faults: Mapping[str, float | None] = field(default_factory=dict)  # by side: ours, plain

    def ratio(self, column: Column) -> float | None:
        """Returns how many times smaller ours is than the column, None where the column is empty."""
        other: float | None = getattr(self, column)
        return None if other is None else other / self.ours

    @property
    def met(self) -> bool | None:
        """Whether the aim holds; None without one."""
        ratio = self.ratio(self.against)
        return None if self.aim is None or ratio is None else ratio >= self.aim

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            f"ours_{self.unit}": self.ours,
            f"plain_{self.unit}": self.plain,
            "peer": self.peer_name,
            f"peer_{self.unit}": self.peer,
            f"limit_{self.unit}": self.limit,
            "ours_peak_bytes": self.peak_bytes.get("ours"),
            "plain_peak_bytes": self.peak_bytes.get("plain"),
            "ours_faults": self.faults.get("ours"),
            "plain_faults": self.faults.get("plain"),
            "ratio_plain": self.ratio("plain"),
            "ratio_peer": self.ratio("peer"),
            "ratio_limit": self.ratio("limit"),
            "aim": self.aim,
            "against": self.against,
            "met": self.met,
        }


def start(description: str | None, cases: Sequence[str] = ()) -> argparse.Namespace:
    """Reads --json, --runs and, where there are cases, --case; keeps freed memory in the process for all sides."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--runs", type=int, default=MIN_RUNS, help="runs per side after the warm-up (at least 5)")
    if cases:
        parser.add_argument("--case", choices=cases, dest="cases", action="append", help="only this one, or these")
    options = parser.parse_args()
    if cases and not options.cases:
        options.cases = cases
    if options.runs < MIN_RUNS:
        parser.error(f"--runs {options.runs}: a median needs at least {MIN_RUNS}")
    keep_freed_memory()
    return options


def compare(
    case: str,
    sides: Mapping[str, Side],
    *,
    aim: float | None = None,
    against: Column = "plain",
    runs: int = MIN_RUNS,
    check: Callable[[Any, Any], Any] | None = None,
) -> Row:
    """Returns the row of one case: the sides' median seconds, and ours' and plain's faults and peak bytes."""
    peers = [name for name in sides if name not in _RESERVED]
    if "ours" not in sides or len(peers) > 1:
        raise ValueError(f'{case}: sides must hold "ours" and at most one peer, got {list(sides)}')
    _warm_up(sides, check)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    faults: dict[str, list[int]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            elapsed, faulted = _time(side)
            seconds[name].append(elapsed)
            faults[name].append(faulted)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    measured = [name for name in ("ours", "plain") if name in sides]
    return Row(
        case=case,
        ours=median["ours"],
        plain=median.get("plain"),
        peer_name=peers[0] if peers else None,
        peer=median[peers[0]] if peers else None,
        limit=median.get("limit"),
        aim=aim,
        against=against,
        peak_bytes={name: peak_bytes(sides[name]) for name in measured},
        faults={name: statistics.median(faults[name]) for name in measured},
    )


def sizes(
    case: str,
    *,
    ours: float,
    plain: float | None = None,
    limit: float | None = None,
    aim: float | None = None,
    against: Column = "plain",
) -> Row:
    """Returns a row of bytes, which the benchmark has counted itself."""
    return Row(case=case, ours=ours, plain=plain, limit=limit, aim=aim, against=against, unit="bytes")


def peak_bytes(side: Side) -> int | None:
    """Returns the bytes that one call adds at its peak, result included; None where the system does not tell.

    A call that allocates through torch's CUDA allocator is measured there, any other one by resident memory.
    """
    gc.collect()
    _synchronize()
    on_gpu = torch.cuda.is_initialized()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    gpu_before = torch.cuda.memory_allocated() if on_gpu else 0
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        ctypes.CDLL(None).malloc_trim(0)  # blocks kept from earlier calls would hide what this one takes
        clear.write_text("5")  # the peak starts again at what is resident now
    before = status_bytes("VmRSS")
    kept = side()
    _synchronize()
    peak = status_bytes("VmHWM")
    gpu_added = torch.cuda.max_memory_allocated() - gpu_before if on_gpu else 0
    del kept
    if gpu_added > 0:
        return gpu_added
    return max(0, peak - before) if before is not None and peak is not None else None


def report(benchmark: str, rows: Sequence[Row], *, as_json: bool) -> None:
    """Prints machine and table, and as the last line the JSON object where it is asked for."""
    machine = this_machine()
    print(f"{benchmark}: " + ", ".join(f"{name} {value}" for name, value in asdict(machine).items() if value))
    header = ("case", "ours", "plain", "×", "peer", "×", "limit", "peak ours/plain", "faults ours/plain", "aim", "met")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]))
    if as_json:
        print(
            json.dumps({"benchmark": benchmark, "machine": asdict(machine), "rows": [row.as_json() for row in rows]}),
            flush=True,
        )


def _warm_up(sides: Mapping[str, Side], check: Callable[[Any, Any], Any] | None) -> None:
    if check is not None:
        check(sides["ours"](), sides["plain"]())
    for _ in range(WARM_UPS):
        for side in sides.values():
            side()


def _time(side: Side) -> tuple[float, int]:
    """Returns seconds and minor faults of one call, the freeing of its result left out."""
    _synchronize()
    faults = _minor_faults()
    began = time.perf_counter()
    kept = side()
    _synchronize()
    elapsed = time.perf_counter() - began
    faults = _minor_faults() - faults
    del kept
    return elapsed, faults


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def status_bytes(name: str) -> int | None:
    """Returns a line of Linux's /proc/self/status, None on other systems."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def _cells(row: Row) -> tuple[str, ...]:
    show = _seconds if row.unit == "s" else _bytes
    peer = show(row.peer) if row.peer_name is None else f"{show(row.peer)} {row.peer_name}"
    aim = "" if row.aim is None else f"{row.aim:.2f} {row.against}"
    return (
        row.case,
        show(row.ours),
        show(row.plain),
        _times(row.ratio("plain")),
        peer,
        _times(row.ratio("peer")),
        show(row.limit),
        f"{_bytes(row.peak_bytes.get('ours'))} / {_bytes(row.peak_bytes.get('plain'))}",
        f"{_count(row.faults.get('ours'))} / {_count(row.faults.get('plain'))}",
        aim,
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.2f} ms"


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:.1f} MiB"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
