"""One picture of an answer: the scene beside it, obliquely and from above, and a legend."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from geoguide3d.geometry.visibility import splat_radius
from geoguide3d.query.result import QueryResult
from geoguide3d.query.splat import Direction, Splats, edge_shade, fit_frame, splat
from geoguide3d.scenes.scene import Scene

PANEL_PX = 760
_SUPERSAMPLING = 2
_GAP_PX = 24
_INK, _PAPER = (40, 40, 40), (255, 255, 255)
_NEUTRAL = 0.72  # of scenes without colours
_ROOM_HEIGHT_M = 2.2  # scenes higher than this have a ceiling to cut away
_CUT_M = 2.0
_ELEVATION_DEG = 38.0
_AZIMUTHS = 8
# Okabe and Ito's palette, which colour-blind readers can tell apart, the yellow darkened for white paper.
_PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800", "#7b4fb5")


def prompt_colors(count: int) -> Tensor:
    """Returns (count, 3) float32 RGB in [0, 1], distinct."""
    fixed = [[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in _PALETTE[:count]]
    turned = [colorsys.hsv_to_rgb((0.11 + 0.618034 * i) % 1, 0.75, 0.8) for i in range(count - len(fixed))]
    return torch.tensor([*fixed, *map(list, turned)], dtype=torch.float32).reshape(-1, 3)


def scene_colors(scene: Scene) -> Tensor:
    """Returns (N, 3) colours of the scene, a neutral grey where it has none."""
    return torch.full((len(scene), 3), _NEUTRAL) if scene.colors is None else scene.colors


def answer_colors(scene: Scene, labels: Tensor) -> Tensor:
    """Returns (N, 3): the prompt's colour where a mask holds the point, else the scene's own in pale grey.

    Args:
        labels: (N,) of a QueryResult.
    """
    own = scene_colors(scene)
    light = own @ own.new_tensor([0.299, 0.587, 0.114])
    grey = (0.45 + 0.45 * light).unsqueeze(1).expand(-1, 3)
    palette = prompt_colors(max(int(labels.max()) + 1, 1))
    tinted = palette[labels.clamp(min=0)] * (0.75 + 0.25 * light).unsqueeze(1)
    return torch.where((labels >= 0).unsqueeze(1), tinted, grey)


def draw_answer(scene: Scene, result: QueryResult) -> Image.Image:
    """Returns the picture: rows oblique and from above, columns scene and answer, a legend below.

    The ceiling and, where the scene's normals tell inside from outside, the walls before the viewer are cut away.

    Args:
        scene: with `up`.

    Raises:
        ValueError: the scene has no up.
    """
    colors = (scene_colors(scene), answer_colors(scene, result.labels))
    return _page(_Stage(scene, result.labels), colors, _legend(scene.name, result))


def draw_colors(scene: Scene, colors: Tensor) -> Image.Image:
    """Returns the same picture with colours ((N, 3) RGB in [0, 1]) in the place of an answer, without a legend.

    Raises:
        ValueError: the scene has no up.
    """
    nothing = torch.full((len(scene),), -1, dtype=torch.int64)
    return _page(_Stage(scene, nothing), (scene_colors(scene), colors), None)


def _page(stage: _Stage, colors: tuple[Tensor, Tensor], legend: Image.Image | None) -> Image.Image:
    if stage.scene.up is None:
        raise ValueError(f"{stage.scene.name}: a picture needs the scene's up direction; see with_up, or --up")
    azimuth = stage.best_azimuth()
    rows = [stage.panels(Direction(azimuth, elevation), colors) for elevation in (_ELEVATION_DEG, 90.0)]
    width = 2 * PANEL_PX + 3 * _GAP_PX
    height = sum(row[0].height + _GAP_PX for row in rows) + _GAP_PX + (legend.height if legend else 0)
    page = Image.new("RGB", (width, height), _PAPER)
    y = _GAP_PX
    for row in rows:
        for column, panel in enumerate(row):
            page.paste(panel, (_GAP_PX + column * (PANEL_PX + _GAP_PX), y))
        y += row[0].height + _GAP_PX
    if legend:
        page.paste(legend, (_GAP_PX, y))
    return page


@dataclass(frozen=True)
class _Stage:
    """The part of a scene that a picture shows."""

    scene: Scene
    labels: Tensor

    @cached_property
    def _radius_m(self) -> float:
        return 0.75 * splat_radius(self.scene.points)

    def best_azimuth(self) -> float:
        """Returns the azimuth from which most of the answer is seen; without an answer, most of the scene."""
        wanted = self.labels >= 0 if bool((self.labels >= 0).any()) else torch.ones_like(self.labels, dtype=torch.bool)
        azimuths = [360.0 / _AZIMUTHS * (turn + 0.5) for turn in range(_AZIMUTHS)]
        return max(azimuths, key=lambda azimuth: self._seen(Direction(azimuth, _ELEVATION_DEG), wanted))

    def panels(self, direction: Direction, colorings: tuple[Tensor, ...]) -> list[Image.Image]:
        """Returns the scene seen from a direction, once in each colouring ((N, 3))."""
        splats, kept = self._splats(direction, PANEL_PX * _SUPERSAMPLING)
        shade = edge_shade(splats.depth, reach_px=2 * _SUPERSAMPLING)
        panels = []
        for colors in colorings:
            pixels = colors[kept][splats.ids.clamp(min=0)] * shade.unsqueeze(2)
            pixels = torch.where((splats.ids >= 0).unsqueeze(2), pixels, torch.ones(()))
            image = Image.fromarray((pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
            panels.append(image.resize((PANEL_PX, round(image.height / _SUPERSAMPLING)), Image.Resampling.BOX))
        return panels

    def _seen(self, direction: Direction, wanted: Tensor) -> int:
        splats, kept = self._splats(direction, PANEL_PX // 3)
        shown = splats.ids[splats.ids >= 0]
        return int(wanted[kept][shown].sum())

    def _splats(self, direction: Direction, width: int) -> tuple[Splats, Tensor]:
        """Returns what is seen, and the (M,) rows of the points that its ids count."""
        assert self.scene.up is not None  # _page asks for it
        axes = direction.axes(self.scene.up)
        kept = self._kept(axes[2])
        image_points = self.scene.points[kept].to(torch.float64) @ axes.T
        frame = fit_frame(image_points, width)
        return splat(image_points, frame, self._radius_m), kept

    def _kept(self, forward: Tensor) -> Tensor:
        """Returns the rows of the points below the cut that do not turn their back on the viewer."""
        assert self.scene.up is not None
        heights = self.scene.points @ self.scene.up
        floor, top = (float(heights.kthvalue(max(1, int(share * len(heights)))).values) for share in (0.01, 0.99))
        shown = (
            heights <= floor + _CUT_M if top - floor > _ROOM_HEIGHT_M else torch.ones_like(heights, dtype=torch.bool)
        )
        normals = self.scene.normals
        if normals is not None:
            facing = normals @ self.scene.up
            flat_floor = (heights < floor + 0.1) & (facing.abs() > 0.9)
            if bool(flat_floor.any()) and float((facing[flat_floor] > 0).float().mean()) > 0.95:
                shown &= normals @ forward.to(normals.dtype) < 0.1
        return shown.nonzero().squeeze(1)


def _legend(title: str, result: QueryResult) -> Image.Image:
    large, small = ImageFont.load_default(26), ImageFont.load_default(22)
    line, total = 36, len(result.labels)
    image = Image.new("RGB", (2 * PANEL_PX + _GAP_PX, line * (len(result.prompts) + 2)), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), f"{title}: left as scanned, right the answer", fill=_INK, font=large)
    for row, (prompt, color) in enumerate(
        zip(result.prompts, prompt_colors(len(result.prompts)).tolist(), strict=True)
    ):
        y = line * (row + 1) + 8
        draw.rounded_rectangle((0, y, 30, y + 24), radius=5, fill=tuple(round(255 * value) for value in color))
        count, shown = int(result.masks[:, row].sum()), int((result.labels == row).sum())
        text = f"{prompt}: {count:,} points ({count / total:.1%})"
        if shown < count:
            text += f", {count - shown:,} of them in the colour of a prompt that fits better"
        draw.text((44, y - 2), text, fill=_INK, font=small)
    return image
