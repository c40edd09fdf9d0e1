"""A real scan asked in words: the lounge, by its images, by plain distillation and with GeoGuide's losses.

../shared/data/lounge is a HoloLens walk through a lounge and kitchen. The teacher is a PASCAL VOC network whose classes
stand for CLIP's text vectors (configs/lounge.yaml). The adapter learns with each preset on handcrafted descriptors, and
with two on RoomNet's features beside them; superpoints and mask proposals are made of the mesh. Answers are judged by
boxes drawn in the cloud before any model was run (tests/end_to_end/lounge_boxes.json). There is one couch, also for
"loveseat"; there is no armchair and no toaster, so of these only points are counted; of the black chairs the scan holds
little. Points that the boxes call unsure count neither way. The scan is learnt from and asked: that shows what a loss
does to the features of a scene, not how they carry over to another one.

IoU is of the mask by the rule of configs/lounge.yaml; "best" is the largest IoU of any threshold on the cosine; the
area under the ROC curve (AUROC) needs none. "Centred": cosines, also those of the rule, as seen from the teacher's mean
unit vector. Crumbs are answered points in connected pieces of the mesh of fewer than 50 answered points. Means over the
seeds. Nothing was chosen by these numbers: the weights of losses are the presets'.

  python benchmarks/lounge.py               # a quarter of an hour on 2 cores; models stay in outputs/lounge
  python benchmarks/lounge.py --pictures    # also draws there what each row answers, by the first seed
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

os.environ.setdefault("GEOGUIDE3D_REQUIRE_KERNELS", "1")  # read when geoguide3d.ops is imported
sys.path.append(str(Path(__file__).parents[1]))  # the tests hold the boxes

import torch
from machine import this_machine
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geoguide3d.cli import distill
from geoguide3d.cli.distill_course import teacher_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.settings import parse_settings
from geoguide3d.distillation.adapter import CONFIG_FILE
from geoguide3d.encoders.loading import load_text_encoder
from geoguide3d.evaluation.answers import area_under_roc, best_iou, intersection_over_union
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.losses.centring import centred
from geoguide3d.ops import cosine_scores, mesh_edges, segment_mean
from geoguide3d.query.config import MaskRule
from geoguide3d.query.model import GeoGuide
from geoguide3d.query.picture import draw_answer
from geoguide3d.query.result import QueryResult, answer, rival_scores
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.posed_folder import open_posed_folder
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoints import superpoints_of_scene
from tests.end_to_end.lounge_boxes import MarkedPoints, marked_points

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
CONFIG, TABLE = ROOT / "configs" / "lounge.yaml", DATA / "clip_text" / "vit_b_32_text.npz"
PROMPTS = ("couch", "loveseat", "potted plant", "dining table")
NOT_THERE = ("armchair", "toaster")
CRUMB_POINTS = 50
WITH_ROOM_NET = ("--backbone.name", "room_net_with_descriptors")
LEARNT = {
    "plain": ("--preset", "plain"),
    "sas": ("--preset", "sas"),
    "paper": ("--preset", "paper"),
    "recommended": ("--preset", "recommended"),
    "plain, RoomNet too": ("--preset", "plain", *WITH_ROOM_NET),
    "recommended, RoomNet too": ("--preset", "recommended", *WITH_ROOM_NET),
}


@dataclass(frozen=True)
class PromptScores:
    """One prompt of one row, compared in one way; NaN where the lounge holds nothing of the kind.

    Args:
        points: answered, of all points.
        crumbs: those of them in small connected pieces.
        iou: of the mask.
        best: largest IoU of any threshold on the cosine.
        auroc: area under the ROC curve of the cosine.
    """

    points: float
    crumbs: float
    iou: float
    best: float
    auroc: float


@dataclass(frozen=True)
class Asked:
    """What every row is asked, and what is right.

    Args:
        scene: the lounge.
        marked: by boxes.
        prompts, negatives: (K, C), (R, C) unit text vectors.
        rule: of masks.
        edges: (E, 2) int64 of the mesh.
        mean: (C,) the teacher's mean unit vector.
    """

    scene: Scene
    marked: MarkedPoints
    prompts: Tensor
    negatives: Tensor
    rule: MaskRule
    edges: Tensor
    mean: Tensor

    def result(self, features: Tensor, mean: Tensor | None) -> QueryResult:
        """Returns what GeoGuide.query does, cosines taken as seen from a mean; points without features answer nothing.

        Args:
            features: (N, C), 0 where there are none.
        """
        own, prompts, negatives = (centred(some, mean) for some in (features, self.prompts, self.negatives))
        known = (features.abs().amax(dim=1) > 0).unsqueeze(1)
        scores = cosine_scores(own, prompts).masked_fill(~known, -torch.inf)
        opposed = cosine_scores(self.negatives, self.prompts) < self.rule.same_meaning_cosine
        rivals = rival_scores(cosine_scores(own, negatives), opposed) + self.rule.margin
        return answer((*PROMPTS, *NOT_THERE), scores, rivals, -torch.inf)

    def judge(self, result: QueryResult) -> dict[str, PromptScores]:
        """Returns the scores by prompt."""
        sure, scores = ~self.marked.unsure, {}
        for k, prompt in enumerate(result.prompts):
            mask, cosines = result.masks[:, k], result.scores[:, k]
            judged = (float("nan"),) * 3
            if prompt not in NOT_THERE:
                truth = self.marked.of(prompt)[sure]
                judged = (
                    intersection_over_union(mask[sure], truth),
                    best_iou(cosines[sure], truth),
                    area_under_roc(cosines[sure], truth),
                )
            scores[prompt] = PromptScores(int(mask.sum()), self._crumbs(mask), *judged)
        return scores

    def _crumbs(self, mask: Tensor) -> int:
        inside = self.edges[mask[self.edges].all(dim=1)].numpy()
        links = coo_matrix(([True] * len(inside), inside.T), shape=(len(mask), len(mask)))
        piece = torch.from_numpy(connected_components(links, directed=False)[1]).to(torch.int64)[mask]
        sizes = piece.bincount()
        return int(sizes[sizes < CRUMB_POINTS].sum())


def read_settings(words: Sequence[str]) -> DistillSettings:
    return parse_settings(DistillSettings, words)[0]


def command_words(scenes: Path, output: Path, *others: str) -> list[str]:
    """Returns the words of `geoguide3d distill` for the lounge."""
    words = ["--scene-list", str(scenes), "--config", str(CONFIG), "--text.table.path", str(TABLE)]
    return [*words, "--output", str(output), *others]


def fused_and_asked(settings: DistillSettings) -> tuple[FusedFeatures, Asked]:
    """Returns what the images alone say of the lounge, and what rows are asked."""
    text, (files,) = load_text_encoder(settings.text), settings.scene_files(settings.scene_list)
    scene = with_up(read_scene(files.points))
    assert scene.faces is not None  # the lounge is a mesh
    views = open_posed_folder(files.points, depth_scale=settings.capture.depth_scale)
    fused = teacher_of(settings, text)(files)(scene, views)
    asked = Asked(
        scene,
        marked_points(scene),
        text.encode_text([*PROMPTS, *NOT_THERE]),
        text.encode_text(settings.mask_rule.negatives),
        settings.mask_rule,
        mesh_edges(scene.points, scene.faces)[0],
        centred(fused.features[fused.seen], None).mean(dim=0),
    )
    return fused, asked


def features_of_rows(
    scenes: Path, folder: Path, settings: DistillSettings, fused: FusedFeatures, scene: Scene, seeds: int
) -> Iterator[tuple[str, int, Tensor]]:
    """Yields row, seed and (N, C) features; models that the folder holds are not trained again."""
    yield "fused 2D features", 0, fused.features
    ids = superpoints_of_scene(scene, settings.superpoints)
    means = segment_mean(fused.features[fused.seen], ids[fused.seen], int(ids.max()) + 1)
    yield "fused, pooled on superpoints", 0, means[ids]
    for name, options in LEARNT.items():
        for seed in range(seeds):
            output = folder / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}"
            if not (output / CONFIG_FILE).is_file():
                distill.main(command_words(scenes, output, *options, "--training.seed", str(seed)))
            yield name, seed, GeoGuide.from_pretrained(output).encode(scene)


def print_table(found: Mapping[str, Mapping[str, Sequence[dict[str, PromptScores]]]]) -> None:
    """Prints one block per prompt; found: row → way of comparing → by seed, by prompt."""
    for prompt in PROMPTS:
        print(f"\n{prompt:<30}  raw: IoU   best  AUROC  crumbs   centred: IoU   best  AUROC  crumbs")
        for name, ways in found.items():
            cells = []
            for judged in ways.values():
                mean = {
                    field.name: fmean(getattr(one[prompt], field.name) for one in judged)
                    for field in fields(PromptScores)
                }
                cells.append(f"{mean['iou']:.3f}  {mean['best']:.3f}  {mean['auroc']:.3f}  {mean['crumbs']:6.0f}")
            print(f"{name:<30}       " + "            ".join(cells))
    print(f"\n{'points answered, crumbs':<30}  raw: {', '.join(NOT_THERE):<34} centred: {', '.join(NOT_THERE)}")
    for name, ways in found.items():
        cells = []
        for judged in ways.values():
            counts = [
                [fmean(getattr(one[prompt], count) for one in judged) for count in ("points", "crumbs")]
                for prompt in NOT_THERE
            ]
            cells.append(", ".join(f"{points:7,.0f} ({crumbs:5,.0f})" for points, crumbs in counts))
        print(f"{name:<30}       " + "         ".join(cells))


def main() -> None:
    options = _options()
    for folder in (DATA / "lounge", TABLE):
        if not folder.exists():
            print(f"lounge: not run, {folder} is absent")
            return
    options.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[dict[str, PromptScores]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes.txt"
        scenes.write_text(f"{DATA / 'lounge'}\n", encoding="utf-8")
        settings = read_settings(command_words(scenes, options.output))
        fused, asked = fused_and_asked(settings)
        rows = features_of_rows(scenes, options.output, settings, fused, asked.scene, options.seeds)
        for name, seed, features in rows:
            for way, mean in (("raw", None), ("centred", asked.mean)):
                result = asked.result(features, mean)
                found.setdefault(name, {}).setdefault(way, []).append(asked.judge(result))
                if options.pictures and seed == 0:
                    draw_answer(asked.scene, result).save(options.output / f"{name}, {way}.png")
    truth = {prompt: int(asked.marked.of(prompt).sum()) for prompt in PROMPTS}
    print(f"lounge: {len(asked.scene):,} points, {options.seeds} seeds, true points: {truth}")
    print_table(found)
    if options.json:
        kept = [
            {"case": name, "compared": way, "seed": seed, "prompt": prompt} | _without_nan(asdict(scores))
            for name, ways in found.items()
            for way, judged in ways.items()
            for seed, one in enumerate(judged)
            for prompt, scores in one.items()
        ]
        print(json.dumps({"benchmark": "lounge", "machine": asdict(this_machine()), "rows": kept}))


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in values.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "lounge", help="keeps the models")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pictures", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
