"""The search that every row gets, by its validation rooms, and the trainings that are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ablation_study.rows import Row
from ablation_study.runs import Case, Judged, Run, run_all
from ablation_study.scores import mean_iou

RATES = (6e-4, 1e-3, 2e-3, 4e-3)
RATES_AND_FACTORS = tuple(product((1e-3, 2e-3), (0.5, 1.0)))


@dataclass(frozen=True)
class Found:
    """What a case came to.

    Args:
        trial: the chosen rate and factor, with seed 0.
        way: of comparing, "raw" or "centred", that suits the validation rooms best.
        judged: on the test rooms, by seed.
    """

    trial: Run
    way: str
    judged: Sequence[Judged]

    @property
    def counts(self) -> Tensor:
        """(S, R, K + 1, K) of S seeds and R test rooms, compared in the chosen way."""
        return torch.stack([getattr(judged, self.way)["test"] for judged in self.judged])


def trials(row: Row, seed: int) -> list[Run]:
    """Returns the search of a row: as many trainings for each."""
    grid = RATES_AND_FACTORS if row.is_scaled else tuple((rate, 1.0) for rate in RATES)
    return [Run(row, rate, factor, seed, ("validation",)) for rate, factor in grid]


def search_and_judge(cases: Mapping[str, Case], seeds: int, folder: Path, workers: int) -> dict[str, Found]:
    """Returns what each case came to: searched with seed 0, then trained with every seed and judged."""
    tried = {name: trials(case.row, seed=0) for name, case in cases.items()}
    searched = _by_case(tried, cases, folder, workers)
    chosen = {name: _best(tried[name], searched[name]) for name in cases}
    final = {
        name: [Run(trial.row, trial.learning_rate, trial.factor, seed, ("test",)) for seed in range(seeds)]
        for name, (trial, _) in chosen.items()
    }
    judged = _by_case(final, cases, folder, workers)
    return {name: Found(*chosen[name], judged[name]) for name in cases}


def _by_case(
    runs: Mapping[str, Sequence[Run]], cases: Mapping[str, Case], folder: Path, workers: int
) -> dict[str, list[Judged]]:
    named = [(name, run) for name, some in runs.items() for run in some]
    found: dict[str, list[Judged]] = {name: [] for name in runs}
    for (name, _), judged in zip(named, run_all(named, cases, folder, workers), strict=True):
        found[name].append(judged)
    return found


def _best(tried: Sequence[Run], searched: Sequence[Judged]) -> tuple[Run, str]:
    """Returns the trial that does best on the validation rooms, and the way of comparing that suits it best."""
    scores = {
        (i, way): mean_iou(getattr(judged, way)["validation"])
        for i, judged in enumerate(searched)
        for way in ("raw", "centred")
    }
    i, way = max(scores, key=lambda place: scores[place])
    return tried[i], way
