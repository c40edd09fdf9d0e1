"""The curve of mIoU against the strength of a simulated teacher's errors: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ablation_study.report import Report, fused_alone
from ablation_study.scores import mean_iou
from ablation_study.studies import at_strength
from geoguide3d.store.atomic import atomic_file

_SIZE, _FRAME = (640, 400), (60, 20, 620, 350)  # left, top, right, bottom of the axes, pixels
_COLORS = {
    "fused teacher": (140, 140, 140),
    "fused, pooled": (196, 150, 60),
    "plain": (48, 88, 168),
    "full": (190, 40, 38),
}


def curves(report: Report, strengths: Sequence[float]) -> dict[str, list[float]]:
    """Returns mIoU in points by strength: of the fused teacher, of it pooled over superpoints, of plain and of full."""
    found: dict[str, list[float]] = {name: [] for name in _COLORS}
    *teachers, plain, full = found
    for strength in strengths:
        alone = fused_alone(report.study.cases[at_strength(plain, strength)].rooms)
        for name, counted in zip(teachers, alone.values(), strict=True):
            found[name].append(100 * mean_iou(counted))
        for name in (plain, full):
            seeds = [100 * mean_iou(counted) for counted in report.results[at_strength(name, strength)].counts]
            found[name].append(sum(seeds) / len(seeds))
    return found


def curve_lines(report: Report, strengths: Sequence[float]) -> list[str]:
    """Returns the table."""
    lines = [
        "| strength | fused teacher | the same, pooled | plain | full | full − plain, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for strength, *values in zip(strengths, *curves(report, strengths).values(), strict=True):
        names = (at_strength(name, strength) for name in ("full", "plain"))
        mean, low, high = report.difference(*names)
        cells = " | ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {strength:g} | {cells} | {mean:+.1f}, {low:+.1f} … {high:+.1f} |")
    return lines


def draw_curves(path: Path, strengths: Sequence[float], values: Mapping[str, Sequence[float]]) -> None:
    """Draws the curves as a PNG: strength to the right from 0 to 1, mIoU upwards from 0 to 100."""
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = _FRAME

    def place(strength: float, points: float) -> tuple[float, float]:
        return left + (right - left) * strength, bottom - (bottom - top) * points / 100

    for points in range(0, 101, 20):
        draw.line([place(0, points), place(1, points)], (225, 225, 225))
        draw.text((left - 8, place(0, points)[1]), str(points), "black", anchor="rm")
    for strength in strengths:
        draw.text((place(strength, 0)[0], bottom + 6), f"{strength:g}", "black", anchor="mt")
    draw.text(((left + right) / 2, bottom + 24), "strength of the teacher's errors", "black", anchor="mt")
    draw.text((8, 4), "mIoU", "black")
    for row, (name, color) in enumerate(_COLORS.items()):
        way = [place(strength, points) for strength, points in zip(strengths, values[name], strict=True)]
        draw.line(way, color, width=3)
        for x, y in way:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), color)
        draw.text((right - 130, top + 8 + 18 * row), name, color)
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG")
