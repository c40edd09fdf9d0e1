"""How much each sighting counts. All of it is computed for the points that a view sees, for no others."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.fusion.settings import Weighting
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import VisiblePoints

Confidence = Tensor | float


def sighting_weights(
    weighting: Weighting,
    camera: Camera,
    visible: VisiblePoints,
    points: Tensor,
    normals: Tensor | None,
    confidence: Confidence | None,
) -> Tensor | None:
    """Returns (M,) float32 weights of what a view sees, None where all count alike.

    Args:
        camera: in the frame of the points.
        visible: M points with their pixels.
        points: (N, 3) metres.
        normals: (N, 3) unit vectors; read where `weighting.viewing_angle` is on.
        confidence: see `confidence_weights`.

    Raises:
        ValueError: a confidence that is negative or not finite, or a map of it that is not (h, w).
    """
    factors = []
    if weighting.viewing_angle or weighting.half_distance_m is not None:
        rays = points.index_select(0, visible.point_ids) - camera.center_world.to(points)  # (M, 3)
        if weighting.viewing_angle:
            assert normals is not None  # FusionAccumulator keeps them where they are needed
            factors.append(angle_weights(rays, normals.index_select(0, visible.point_ids)))
        if weighting.half_distance_m is not None:
            factors.append(distance_weights(rays, weighting.half_distance_m))
    if weighting.border_fade_px > 0:
        factors.append(border_weights(visible.uv, camera, weighting.border_fade_px))
    if confidence is not None:
        factors.append(confidence_weights(confidence, visible, camera))
    if not factors:
        return None
    return torch.stack([factor.to(torch.float32) for factor in factors]).prod(0)


def angle_weights(rays: Tensor, normals: Tensor) -> Tensor:
    """Returns |n · r| / |r|: 1 where a surface is seen face-on, 0 edge-on. The sign of a normal does not matter.

    Args:
        rays: (M, 3) from the camera to the points.
        normals: (M, 3) unit vectors.
    """
    cosine: Tensor = torch.nn.functional.cosine_similarity(rays, normals.to(rays), dim=1)
    return cosine.abs().clamp(max=1)


def distance_weights(rays: Tensor, half_distance_m: float) -> Tensor:
    """Returns 1 / (1 + (|r| / half_distance_m)²): 1 at the camera, ½ at half_distance_m, then falling with |r|².

    That is how many pixels a patch of surface covers, without growing beyond all bounds close to the camera.

    Args:
        rays: (M, 3) from the camera to the points, metres.
    """
    distance_m: Tensor = torch.linalg.vector_norm(rays, dim=1)
    return (1 + (distance_m / half_distance_m).square()).reciprocal()


def border_weights(uv: Tensor, camera: Camera, fade_px: float) -> Tensor:
    """Returns min(1, b / fade_px), with b the distance in pixels from (u, v) to the nearest edge of the image.

    Args:
        uv: (M, 2) pixels, centres at integers: the image covers [−½, W − ½] × [−½, H − ½].
    """
    end = uv.new_tensor([camera.width - 0.5, camera.height - 0.5])
    to_edge = torch.minimum(uv + 0.5, end - uv).amin(1)
    return (to_edge / fade_px).clamp(0, 1)


def confidence_weights(confidence: Confidence, visible: VisiblePoints, camera: Camera) -> Tensor:
    """Returns what the encoder's confidence is worth at each pixel: the confidence itself.

    Args:
        confidence: one number for the whole view, or an (h, w) map of any size with the camera's field of view, read
            at the pixel ⌊(u + ½) · w / W⌋, ⌊(v + ½) · h / H⌋ with u, v rounded. At least 0 and finite where it is read.

    Raises:
        ValueError: a map that is not (h, w), or a value that is negative or not finite.
    """
    uv = visible.uv
    if isinstance(confidence, Tensor):
        if confidence.ndim != 2:
            raise ValueError(f"a confidence map must be (h, w), got {tuple(confidence.shape)}")
        size = uv.new_tensor([camera.width, camera.height])
        column, row = ((uv.round() + 0.5) * uv.new_tensor(confidence.shape[::-1]) / size).long().unbind(1)
        values = confidence.to(uv.device)[row, column].to(torch.float32)
    else:
        values = uv.new_full((len(uv),), confidence, dtype=torch.float32)
    if not bool(((values >= 0) & values.isfinite()).all()):
        raise ValueError(
            f"a confidence must be at least 0 and finite, got {float(values.min())} to {float(values.max())}"
        )
    return values
