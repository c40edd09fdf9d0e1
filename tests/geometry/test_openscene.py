"""OpenScene's intrinsics, against numbers recorded from its own function."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from geoguide3d.geometry.openscene import openscene_intrinsics


def test_intrinsics_match_the_recorded_ones(shared_fixtures: Path) -> None:
    cases = json.loads((shared_fixtures / "modules/projection_fusion/adjust_intrinsic.json").read_text())
    assert cases
    for case in cases:
        intrinsics = torch.tensor(case["K_in"], dtype=torch.float64)[:3, :3]
        before = intrinsics.clone()
        adjusted = openscene_intrinsics(intrinsics, tuple(case["src"]), tuple(case["dst"]))
        expected = torch.tensor(case["K_out"], dtype=torch.float64)[:3, :3]
        torch.testing.assert_close(adjusted, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(intrinsics, before, rtol=0, atol=0)  # upstream changes its argument
