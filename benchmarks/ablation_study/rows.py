"""The rows of the ablation: what is minimised, and on which superpoints and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from geoguide3d.distillation.objective import Objective, ObjectiveSettings, preset
from geoguide3d.distillation.sample import Sample
from geoguide3d.distillation.sampling import Unit
from geoguide3d.losses.imr import ImrSettings
from geoguide3d.losses.usd import UsdSettings
from geoguide3d.ops import segment_mean

Start = Literal["random", "room_net"]


@dataclass(frozen=True)
class Row:
    """One way to train.

    Args:
        settings: what is minimised, before the search scales the weights of imr and iirc.
        superpoints: a kind of `superpoints_of`, None: none.
        masks: a source of `masks_of`, None: none.
        shuffled_geometry: control: iirc compares with the geometry of other superpoints, drawn in every step.
        drawn: what a step draws of a room.
        true_words: learns from the words of the true categories instead of the teacher's features: the headroom.
    """

    settings: ObjectiveSettings
    superpoints: str | None = "standard"
    masks: str | None = "proposer"
    shuffled_geometry: bool = False
    drawn: Unit = "points"
    true_words: bool = False

    @property
    def is_scaled(self) -> bool:
        """Whether the search has a weight to choose."""
        return self.settings.imr_weight + self.settings.iirc_weight > 0

    def scaled(self, factor: float) -> ObjectiveSettings:
        """Returns the settings with imr and iirc weighted factor times as much."""
        weights = {name: factor * getattr(self.settings, name) for name in ("imr_weight", "iirc_weight")}
        return replace(self.settings, **weights)


@dataclass(frozen=True)
class WholeNetwork(Row):
    """A row that trains RoomNet's whole network with the adapter behind it.

    Args:
        start: its weights before: random, or those of the package, which were learned without labels.
    """

    start: Start = "random"


class ShuffledGeometry(Objective):
    """An objective that is shown, for each superpoint, the mean geometry of another one."""

    def forward(self, semantic: Tensor, sample: Sample, generator: torch.Generator) -> dict[str, Tensor]:
        """Returns what `Objective` does."""
        assert sample.superpoints is not None  # rows of this control have them
        count = int(sample.superpoints.max()) + 1
        means = segment_mean(sample.geometric, sample.superpoints, count)
        others = torch.randperm(count, generator=generator)
        return super().forward(semantic, replace(sample, geometric=means[others][sample.superpoints]), generator)


def _rows() -> dict[str, Row]:
    plain, sas = preset("plain"), preset("sas")
    full = preset("recommended")
    paper = replace(preset("paper"), imr=ImrSettings(least_points=full.imr.least_points))  # rooms are thinned here
    uniform, learned = UsdSettings(weight="uniform"), UsdSettings(weight="sigmoid")
    alone = {"imr_weight": 0.0, "iirc_weight": 0.0}
    return {
        "plain": Row(plain),
        "plain, centred": Row(replace(plain, centred=True)),
        "superpoints (SAS)": Row(sas),
        "superpoints, centred": Row(replace(sas, centred=True)),
        "+ USD, learned": Row(replace(full, usd=learned, **alone)),
        "+ USD, robust": Row(replace(full, **alone)),
        "+ IMR": Row(replace(full, usd=uniform, iirc_weight=0.0)),
        "+ IIRC": Row(replace(full, usd=uniform, imr_weight=0.0)),
        "full, paper": Row(paper),
        "full": Row(full),
        "full, whole superpoints drawn": Row(full, drawn="superpoints"),
        "full - USD": Row(replace(full, usd=uniform)),
        "full - IMR": Row(replace(full, imr_weight=0.0)),
        "full - IIRC": Row(replace(full, iirc_weight=0.0)),
        "control: full, IIRC on shuffled geometry": Row(full, shuffled_geometry=True),
        "control: full, IMR on shuffled masks": Row(full, masks="shuffled"),
        "headroom: plain on the true words": Row(replace(plain, centred=True), true_words=True),
    }


ROWS: Mapping[str, Row] = _rows()
