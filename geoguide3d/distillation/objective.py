"""What training minimises: GeoGuide's three losses on one sample, their switches, and the presets by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide3d.distillation.sample import Sample
from geoguide3d.distillation.sample_checks import check_sample, finite_mean
from geoguide3d.losses.centring import centred
from geoguide3d.losses.cosine import cosine_distance, mean_pairwise_cosine
from geoguide3d.losses.iirc import IircSettings, drawn_superpoints, iirc
from geoguide3d.losses.imr import ImrSettings, drawn_masks, imr, visible_parts
from geoguide3d.losses.pooling import pooled_means
from geoguide3d.losses.readings import read
from geoguide3d.losses.usd import Taught, UncertaintyHead, UsdSettings, point_weights, usd
from geoguide3d.ops.point_lists import PointLists

_log = logging.getLogger(__name__)

Targets = Literal["points", "superpoints"]


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which losses are minimised. The defaults are the paper's literal equations.

    Args:
        targets: "points": each taught point has its own image feature for a target; "superpoints": that of its
            superpoint, pooled as `usd` says.
        centred: image features and outputs are compared as seen from the mean unit image feature of the training
            scenes, not from 0.
        distillation_weight: λ1, of the distance to the targets.
        imr_weight: λ2, of the reconstruction of instance masks. 0 leaves it out, its random numbers too.
        iirc_weight: λ3, of the consistency of relations. 0 leaves it out.
        usd: how superpoints' targets are pooled.
        imr: how masks are hidden and reconstructed.
        iirc: which relations are compared.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0; or iirc is to see outputs from a mean that only a
            centred objective has.
    """

    targets: Targets = "superpoints"
    centred: bool = False
    distillation_weight: float = 1.0
    imr_weight: float = 1.0
    iirc_weight: float = 1.0
    usd: UsdSettings = field(default_factory=UsdSettings)
    imr: ImrSettings = field(default_factory=ImrSettings)
    iirc: IircSettings = field(default_factory=IircSettings)

    def __post_init__(self) -> None:
        weights = (self.distillation_weight, self.imr_weight, self.iirc_weight)
        if not all(0 <= weight < float("inf") for weight in weights) or sum(weights) == 0:
            raise ValueError(f"weights of losses must be finite, not negative and not all 0, got {weights}")
        if self.iirc_weight > 0 and self.iirc.centre_semantic and not self.centred:
            raise ValueError("iirc.centre_semantic needs a centred objective: set centred, or leave it out")

    @property
    def needs_superpoints(self) -> bool:
        """Whether a term is left out of scenes without superpoints."""
        occluded = self.imr_weight > 0 and self.imr.occlusion == "superpoints"
        distilled = self.distillation_weight > 0 and self.targets == "superpoints"
        return distilled or occluded or (self.iirc_weight > 0 and self.iirc.superpoints)

    @property
    def needs_masks(self) -> bool:
        """Whether a term is left out of scenes without masks."""
        return self.imr_weight > 0 or (self.iirc_weight > 0 and self.iirc.masks)

    @property
    def needs_points(self) -> bool:
        """Whether samples must hold the positions of their points."""
        return self.imr_weight > 0 and self.imr.occlusion == "half_space"


PRESETS: Mapping[str, ObjectiveSettings] = MappingProxyType(
    {
        # point distillation alone, as OpenScene's
        "plain": ObjectiveSettings(targets="points", imr_weight=0.0, iirc_weight=0.0),
        # stage 1 of SAS
        "sas": ObjectiveSettings(usd=UsdSettings(weight="uniform"), imr_weight=0.0, iirc_weight=0.0),
        # the equations of GeoGuide; what it does not state as in docs/papers.md
        "paper": ObjectiveSettings(),
        # what docs/ablation.md supports
        "recommended": ObjectiveSettings(
            centred=True,
            imr_weight=0.05,
            iirc_weight=0.15,
            usd=UsdSettings(weight="robust"),
            imr=ImrSettings(logit_scale=10.0, balanced=True, least_points=10),  # a step sees a part of each mask
            iirc=IircSettings(centre_geometry=True, centre_semantic=True),
        ),
    }
)


def preset(name: str) -> ObjectiveSettings:
    """Returns the settings of a preset: plain, sas, paper or recommended.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass
class _Plan:
    """What a sample can be asked, and the lists of points that this takes means over."""

    point_targets: bool = False
    taught: Taught | None = None
    masks: PointLists | None = None  # to be reconstructed
    families: dict[str, PointLists] = field(default_factory=dict)
    of_geometry: list[str] = field(default_factory=list)  # families whose geometric means are needed too
    related: dict[str, Tensor] = field(default_factory=dict)  # family: the lists of it whose relations are compared

    def partition(self, means: Mapping[str, Tensor]) -> tuple[Tensor, PointLists] | None:
        """Returns the means, and the lists, of the family that holds every point once, if there is one."""
        return (means["superpoints"], self.families["superpoints"]) if "superpoints" in means else None


class Objective(nn.Module):
    """The loss of one sample, with the trainable heads that only training needs.

    Args:
        settings: the losses.
        geometric_channels: G.
        semantic_channels: C.
        semantic_mean: (C,) mean unit image feature of the training scenes; needed where `settings.centred`, unused
            otherwise.

    Raises:
        ValueError: the mean is missing, of another width, or not finite.
    """

    semantic_mean: Tensor | None

    def __init__(
        self,
        settings: ObjectiveSettings,
        geometric_channels: int,
        semantic_channels: int,
        semantic_mean: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.geometric_channels, self.semantic_channels = geometric_channels, semantic_channels
        if settings.centred and semantic_mean is None:
            raise ValueError("a centred objective needs semantic_mean, the mean unit image feature of the scenes")
        if semantic_mean is not None and semantic_mean.shape != (semantic_channels,):
            raise ValueError(f"semantic_mean must be ({semantic_channels},), got {tuple(semantic_mean.shape)}")
        if semantic_mean is not None and not bool(torch.isfinite(semantic_mean).all()):
            raise ValueError("semantic_mean holds NaN or infinite numbers: is an image feature damaged?")
        self.register_buffer(
            "semantic_mean", semantic_mean.clone() if settings.centred and semantic_mean is not None else None
        )
        learned = settings.distillation_weight > 0 and settings.targets == "superpoints" and settings.usd.learned
        self.uncertainty = (
            UncertaintyHead(geometric_channels, semantic_channels, settings.usd.hidden_channels) if learned else None
        )
        self.mask_head = nn.Linear(semantic_channels, semantic_channels) if settings.imr_weight > 0 else None
        self._told: set[str] = set()

    def forward(
        self,
        semantic: Tensor,  # (P, C)
        sample: Sample,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Returns the loss of a sample and what is worth logging; all but "loss" without gradient, scalars.

        "loss" is the weighted sum of the terms "distillation", "imr" and "iirc", each a mean inside the scene. A term
        of weight 0 is not computed. One that the scene cannot have (no taught point, no superpoints, no masks that are
        large enough) is left out, counts as 0 in the loss, and is told once per kind in the log; a loss of no terms is
        0 with a zero gradient. "weight_entropy": mean over superpoints of the entropy of the pooling weights, 1 even,
        0 one point alone. "mean_cosine": mean cosine of two different outputs; towards 1 they collapse.

        Args:
            semantic: (P, C) outputs of the adapter for the sample's points.
            generator: the only source of random numbers.

        Raises:
            ValueError: shapes that do not fit the sample, NaN or infinite features, or a sample without what an
                occlusion needs.
        """
        check_sample(sample, semantic, self.geometric_channels, self.semantic_channels)
        plan = self._plan(sample, generator)
        semantic, means, directions = read(semantic, plan.families, plan.taught, self.semantic_mean)
        geometry = pooled_means(sample.geometric, {name: plan.families[name] for name in plan.of_geometry})
        finite_mean("semantic", semantic, plan.partition(means))
        finite_mean("sample.targets", sample.targets)
        centre = finite_mean("sample.geometric", sample.geometric, plan.partition(geometry))
        terms: dict[str, tuple[float, Tensor]] = {}
        result = {"mean_cosine": mean_pairwise_cosine(semantic.detach())}
        if plan.point_targets:
            terms["distillation"] = self.settings.distillation_weight, self._points(semantic, sample)
        if plan.taught is not None and directions is not None:
            geometric = (sample.geometric, geometry["superpoints"]) if self.uncertainty is not None else None
            weights = point_weights(self.settings.usd, self.uncertainty, geometric, plan.taught, self.semantic_mean)
            value = usd(directions, means["taught"], weights, plan.taught, self.settings.usd, self.semantic_mean)
            terms["distillation"], result["weight_entropy"] = (
                (self.settings.distillation_weight, value.loss),
                value.entropy,
            )
        if plan.masks is not None and self.mask_head is not None:
            term = imr(semantic, means["visible"], plan.masks, self.mask_head, self.settings.imr)
            terms["imr"] = self.settings.imr_weight, term
        if plan.related:
            pairs = [(geometry[name][rows], means[name][rows]) for name, rows in plan.related.items()]
            term = torch.stack([iirc(*pair, self.settings.iirc, centre, self.semantic_mean) for pair in pairs]).sum()
            terms["iirc"] = self.settings.iirc_weight, term
        result.update({name: term.detach() for name, (_, term) in terms.items()})
        weighted = [weight * term for weight, term in terms.values()]
        result["loss"] = torch.stack(weighted).sum() if weighted else semantic.sum(dtype=centre.dtype) * 0
        return result

    def _points(self, semantic: Tensor, sample: Sample) -> Tensor:
        rows = sample.taught.nonzero().squeeze(1)
        wanted = centred(sample.targets[rows], self.semantic_mean)
        return cosine_distance(centred(semantic[rows], self.semantic_mean), wanted)

    def _plan(self, sample: Sample, generator: torch.Generator) -> _Plan:
        """Returns which terms the sample can have, and over which lists of points they need means."""
        plan = _Plan()
        superpoints = sample.superpoints
        if superpoints is not None:
            count = int(superpoints.max()) + 1
            if self.uncertainty is not None or (self.settings.iirc_weight > 0 and self.settings.iirc.superpoints):
                plan.families["superpoints"] = PointLists.of_superpoints(superpoints, count)
                plan.of_geometry.append("superpoints")
        if self.settings.distillation_weight > 0:
            self._plan_targets(plan, sample)
        if self.settings.imr_weight > 0:
            self._plan_occlusion(plan, sample, generator)
        if self.settings.iirc_weight > 0:
            self._plan_relations(plan, sample, generator)
        return plan

    def _plan_targets(self, plan: _Plan, sample: Sample) -> None:
        if not bool(sample.taught.any()):
            self._tell("no taught point: distillation is left out")
        elif self.settings.targets == "points":
            plan.point_targets = True
        elif sample.superpoints is None:
            self._tell("no superpoints: distillation is left out")
        else:
            count = int(sample.superpoints.max()) + 1
            plan.taught = Taught(sample.targets, sample.taught, sample.superpoints, count)
            plan.families["taught"] = plan.taught.lists

    def _plan_occlusion(self, plan: _Plan, sample: Sample, generator: torch.Generator) -> None:
        settings = self.settings.imr
        drawn = None if sample.masks is None else drawn_masks(sample.masks.sizes, settings, generator)
        if sample.masks is None or drawn is None or len(drawn) == 0:
            self._tell(f"no masks of at least {settings.least_points} points: their reconstruction is left out")
            return
        plan.masks = sample.masks.select(drawn)
        visible = visible_parts(plan.masks, settings, generator, sample.superpoints, sample.points)
        plan.families["visible"] = visible

    def _plan_relations(self, plan: _Plan, sample: Sample, generator: torch.Generator) -> None:
        settings = self.settings.iirc
        if settings.masks and sample.masks is not None and len(sample.masks.point_ids):
            plan.families["masks"] = sample.masks.select(sample.masks.sizes > 0)
            plan.of_geometry.append("masks")
            plan.related["masks"] = torch.arange(len(plan.families["masks"]))
        elif settings.masks:
            self._tell("no masks: their relations are left out")
        if settings.superpoints and sample.superpoints is not None:
            plan.related["superpoints"] = drawn_superpoints(len(plan.families["superpoints"]), settings, generator)
        elif settings.superpoints:
            self._tell("no superpoints: their relations are left out")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("a scene has %s (told once)", what)
