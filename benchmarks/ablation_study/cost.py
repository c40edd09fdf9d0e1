"""What the training modules cost when a model answers: nothing, since what is exported is the adapter alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from measure import Row, compare, peak_bytes, sizes
from torch import Tensor

from ablation_study.report import machine_line
from ablation_study.rooms import RoomData, thinned
from ablation_study.rows import ROWS
from ablation_study.runs import lesson_of
from ablation_study.studies import Setting
from ablation_study.teachers import category_words
from geoguide3d.backbones.room_net.with_descriptors import RoomNetWithDescriptors
from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.distill import TrainingSettings, distill
from geoguide3d.distillation.objective import Objective
from geoguide3d.encoders.prompts import class_prompt
from geoguide3d.encoders.room_clip import RoomClipTextEncoder
from geoguide3d.query.config import MaskRule
from geoguide3d.query.model import MODEL_FILES, GeoGuide, save_model
from geoguide3d.scenes.rooms import CATEGORIES, make_room

_TEMPLATE = "a {}"
_RUNS = 7
_PEAKS = 5  # one alone depends on what the process has freed before
_STEPS = 10  # how well the models answer does not matter here


@dataclass(frozen=True)
class Exported:
    """A model as a user has it.

    Args:
        model: read from its folder.
        file_bytes: of the folder.
        trained_values: how many numbers training changed, those of its own modules too.
    """

    model: GeoGuide
    file_bytes: int
    trained_values: int


def cost_lines(setting: Setting) -> list[str]:
    """Returns the table: seconds, memory and files of a model trained by full, against those of one by plain."""
    plan = replace(setting.plan, train=1, validation=0, test=0)
    (room,) = setting.rooms(plan)["train"]
    full, plain = _exported("full, paper", room), _exported("plain", room)
    scene = make_room(plan.first_seed, "test").scene()
    scene = thinned(scene, min(1.0, setting.plan.judged / len(scene)))
    prompts = [class_prompt(name, _TEMPLATE) for name in CATEGORIES]
    asked = {name: partial(made.model.query, scene, prompts) for name, made in (("ours", full), ("plain", plain))}
    answered = compare(f"{len(scene)} points, {len(prompts)} prompts", asked, runs=_RUNS)
    peaks: dict[str, list[int]] = {name: [] for name in asked}
    for _ in range(_PEAKS):
        for name, side in asked.items():
            peaks[name].append(peak_bytes(side) or 0)
    rows = {
        "seconds of an answer": answered,
        "bytes of memory at its peak": _sizes(*(int(median(found)) for found in peaks.values())),
        "bytes of the model's folder": _sizes(full.file_bytes, plain.file_bytes),
        "values that training changes": _sizes(full.trained_values, plain.trained_values),
    }
    return [
        "## Cost of the training modules",
        "",
        f"A model trained by the paper's losses against one trained by plain distillation, {answered.case}; "
        f"{machine_line()}.",
        "",
        "| | full ÷ plain |",
        "|---|---|",
        *(f"| {name} | {_ratio(row)} |" for name, row in rows.items()),
    ]


def _sizes(ours: int, plain: int) -> Row | None:
    return None if 0 in (ours, plain) else sizes("", ours=ours, plain=plain)


def _ratio(row: Row | None) -> str:
    """Returns how many times as much ours is, a dash where the system does not tell."""
    return "–" if row is None or row.plain is None else f"{row.ours / row.plain:.3f}"


def _exported(name: str, room: RoomData) -> Exported:
    """Returns the model of a row, trained a little on one room, written and read as a user's is."""
    row, backbone = ROWS[name], RoomNetWithDescriptors()
    made: list[Objective] = []

    def make(geometric: int, semantic: int, mean: Tensor) -> Objective:
        made.append(Objective(row.settings, geometric, semantic, mean))
        return made[-1]

    lesson = lesson_of(row, room, category_words())
    adapter = distill([lesson], TrainingSettings(steps=_STEPS, points_per_step=4000), make).adapter
    record = BackboneRecord(backbone.name, backbone.config, licence=backbone.licence)
    with TemporaryDirectory() as folder:
        path = Path(folder)
        save_model(path, adapter, record, RoomClipTextEncoder.load(), MaskRule(), _TEMPLATE)
        file_bytes = sum((path / file).stat().st_size for file in MODEL_FILES if (path / file).is_file())
        model = GeoGuide.from_pretrained(path)
        model.text  # noqa: B018 -- read while the folder is there
    trained = [value.numel() for module in (adapter, made[-1]) for value in module.parameters()]
    return Exported(model, file_bytes, sum(trained))
