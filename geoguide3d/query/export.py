"""Writes an answer: a point cloud that overlays the input, a picture, and numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from geoguide3d.query.picture import answer_colors, draw_answer
from geoguide3d.query.result import QueryResult
from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.atomic import atomic_file


def export_answer(folder: Path, scene: Scene, result: QueryResult, described: dict[str, Any]) -> list[Path]:
    """Writes <scene>.ply, <scene>.png and <scene>.json, each whole or not at all, and returns their paths.

    The PLY has the input's vertices, order and faces; its colours show the masks, `prompt` holds each point's prompt
    (-1 none) and `score_<prompt>` its cosine with each prompt.

    Args:
        scene: with `up`, for the picture.
        described: further entries of the JSON file, such as the model and its versions.
    """
    ply, png, numbers = (folder / f"{scene.name}{suffix}" for suffix in (".ply", ".png", ".json"))
    picture = draw_answer(scene, result)  # before anything is written, for it may refuse
    extra = {name: result.scores[:, k] for k, name in enumerate(score_names(result.prompts))}
    write_ply(ply, scene, colors=answer_colors(scene, result.labels), extra={"prompt": result.labels, **extra})
    with atomic_file(png) as path:
        picture.save(path)
    with atomic_file(numbers) as path:
        content = {**described, "scene": scene.name, "points": len(scene), "prompts": summaries(scene, result)}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [ply, png, numbers]


def score_names(prompts: tuple[str, ...]) -> list[str]:
    """Returns one property name per prompt, all different: "a red chair" → "score_a_red_chair"."""
    names: list[str] = []
    for place, prompt in enumerate(prompts):
        name = "score_" + (re.sub(r"[^a-z0-9]+", "_", prompt.lower()).strip("_") or str(place))
        names.append(f"{name}_{place}" if name in names else name)
    return names


def summaries(scene: Scene, result: QueryResult) -> list[dict[str, Any]]:
    """Returns, per prompt, the numbers of its mask: JSON values, lengths in metres, positions in the file's frame.

    points and share count the mask; labelled counts the points that no other prompt fits better; best_score is the
    largest cosine of any point, mean_score the mean over the mask; box is [[least x, y, z], [largest x, y, z]].
    """
    found = []
    for k, prompt in enumerate(result.prompts):
        mask, scores = result.masks[:, k], result.scores[:, k]
        count = int(mask.sum())
        inside = scene.points_world[mask]
        found.append(
            {
                "prompt": prompt,
                "points": count,
                "share": count / len(scene),
                "labelled": int((result.labels == k).sum()),
                "best_score": float(scores.max()),
                "mean_score": float(scores[mask].mean()) if count else None,
                "box": torch.stack([inside.amin(dim=0), inside.amax(dim=0)]).tolist() if count else None,
            }
        )
    return found
