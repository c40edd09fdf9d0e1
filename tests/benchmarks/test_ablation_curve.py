"""The curve of the simulated teacher: each line holds the scores that its name says, and the picture shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ablation_study import curve
from ablation_study.report import Report
from ablation_study.rooms import Plan
from ablation_study.rows import ROWS
from ablation_study.runs import Judged, Run
from ablation_study.search import Found
from ablation_study.studies import Setting, Study, at_strength
from PIL import Image
from torch import Tensor

STRENGTHS = (0.0, 1.0)
SETTING = Setting(Plan(), 10, 10, 1, Path(), 1)


def counts(right: int) -> Tensor:
    """Returns (1, 3, 2) counts of one room of 100 points of one category, so many of them right."""
    made = torch.zeros(1, 3, 2, dtype=torch.int64)
    made[0, 0, 0], made[0, 1, 0] = right, 100 - right
    return made


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(curve, "fused_alone", lambda rooms: {"alone": counts(40), "pooled": counts(60)})
    cases, results = {}, {}
    for strength in STRENGTHS:
        for name, right in (("plain", 80), ("full", 90)):
            row = at_strength(name, strength)
            judged = {"test": counts(round(right - 20 * strength))}
            run = Run(ROWS[name], 1e-3, 1.0, 0, ("test",))
            cases[row], results[row] = SETTING.case(ROWS[name], {}), Found(run, "raw", [Judged(judged, {})])
    return Report(SETTING, Study("A teacher with controlled error", cases, []), results)


def test_each_line_has_its_scores(report: Report) -> None:
    found = curve.curves(report, STRENGTHS)
    assert list(found) == ["fused teacher", "fused, pooled", "plain", "full"]
    ratios = [value / found["full"][0] for values in found.values() for value in values]
    assert ratios == pytest.approx([right / 90 for right in (40, 40, 60, 60, 80, 60, 90, 70)])
    assert curve.curve_lines(report, STRENGTHS)[-1].startswith("| 1 | ")


def test_the_picture_has_a_line_of_each_color_where_its_scores_are(report: Report, tmp_path: Path) -> None:
    values = {"fused teacher": [40.0, 40.0], "fused, pooled": [60.0, 60.0], "plain": [80.0, 60.0], "full": [90.0, 70.0]}
    curve.draw_curves(tmp_path / "curve.png", STRENGTHS, values)
    with Image.open(tmp_path / "curve.png") as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    left = pixels[:, 60]  # strength 0
    heights = [
        float((left == torch.tensor(color)).all(dim=1).nonzero().float().mean()) for color in curve._COLORS.values()
    ]
    assert heights == sorted(heights, reverse=True)  # higher scores are higher up, in fewer rows from the top
