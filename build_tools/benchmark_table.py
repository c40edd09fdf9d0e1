"""Turns the JSON of a benchmark into the Markdown table of docs/benchmarks.md.

python benchmarks/segment_reduce.py --json | python build_tools/benchmark_table.py
"""

from __future__ import annotations

import json
import sys
from typing import Any

COLUMNS = ("plain", "peer", "limit")


def main() -> None:
    result = json.loads(sys.stdin.read().strip().splitlines()[-1])
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items() if value)
    print(f"`{result['benchmark']}` on {machine}\n")
    used = [column for column in COLUMNS if any(time_of(row, column) is not None for row in result["rows"])]
    print("| case | ours | " + " | ".join(used) + " | peak memory (plain) | aim |")
    print("|" + "---|" * (len(used) + 4))
    for row in result["rows"]:
        print(
            "| "
            + " | ".join([row["case"], show(row, "ours"), *(against(row, c) for c in used), peak(row), aim(row)])
            + " |"
        )


def time_of(row: dict[str, Any], column: str) -> float | None:
    value: float | None = row.get(f"{column}_s", row.get(f"{column}_bytes"))
    return value


def show(row: dict[str, Any], column: str) -> str:
    value = time_of(row, column)
    if value is None:
        return ""
    return f"{value * 1e3:.3g} ms" if f"{column}_s" in row else mebibytes(value)


def against(row: dict[str, Any], column: str) -> str:
    """The other side and how many times ours it is."""
    text = show(row, column)
    name = f" {row['peer']}" if text and column == "peer" else ""
    return f"{text}{name} ({row[f'ratio_{column}']:.2f}×)" if text else ""


def peak(row: dict[str, Any]) -> str:
    ours, plain = row["ours_peak_bytes"], row["plain_peak_bytes"]
    if ours is None:
        return ""
    return mebibytes(ours) + ("" if plain is None else f" ({mebibytes(plain)})")


def mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


def aim(row: dict[str, Any]) -> str:
    if row["aim"] is None:
        return ""
    return f"≥ {row['aim']:.2f}× {row['against']}: {'met' if row['met'] else '**missed**'}"


if __name__ == "__main__":
    main()
