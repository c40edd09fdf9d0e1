"""orientation: where normals and up come from, in which order."""

from __future__ import annotations

import logging

import pytest
import torch

from geoguide3d.scenes.orientation import ensure_normals, with_up
from geoguide3d.scenes.scene import Scene

DOWNWARD = torch.tensor([0.0, 0.0, -1.0])
UPWARD = torch.tensor([0.0, 0.0, 1.0])


def floor(count: int = 400) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 3) * torch.tensor([0.5, 0.5, 0.0])


def test_own_normals_come_first() -> None:
    points = floor(3)
    scene = Scene(points=points, normals=DOWNWARD.expand(3, 3).clone(), faces=torch.tensor([[0, 1, 2]]))
    assert ensure_normals(scene) is scene


def test_faces_come_before_neighbors(caplog: pytest.LogCaptureFixture) -> None:
    points = torch.tensor([[0.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0]])
    with caplog.at_level(logging.INFO):
        normals = ensure_normals(Scene(points=points, faces=torch.tensor([[0, 1, 2]]))).normals
    assert normals is not None
    torch.testing.assert_close(normals, DOWNWARD.expand(3, 3))
    assert "normals from its faces" in caplog.text


def test_points_of_no_face_ask_their_neighbors(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        normals = ensure_normals(Scene(points=floor(), faces=torch.tensor([[0, 1, 2]]))).normals
    assert normals is not None
    torch.testing.assert_close(normals[:, 2].abs(), torch.ones(400))
    assert "397 of 400 from neighbouring points" in caplog.text


def test_bare_points_and_zero_normals_ask_their_neighbors() -> None:
    for scene in (Scene(points=floor()), Scene(points=floor(), normals=torch.zeros(400, 3))):
        normals = ensure_normals(scene).normals
        assert normals is not None
        torch.testing.assert_close(normals[:, 2].abs(), torch.ones(400))


def test_up_given_then_own_then_estimated(caplog: pytest.LogCaptureFixture) -> None:
    bare, own = Scene(points=floor()), Scene(points=floor(), up=DOWNWARD)
    for scene in (bare, own):
        given = with_up(scene, torch.tensor([0.0, 3.0, 0.0]), cameras_up=UPWARD.unsqueeze(0))
        assert given.up is not None
        assert given.up.tolist() == [0.0, 1.0, 0.0]
    assert with_up(own) is own
    with caplog.at_level(logging.INFO):
        estimated = with_up(bare, cameras_up=DOWNWARD.unsqueeze(0)).up
    assert estimated is not None
    torch.testing.assert_close(estimated, DOWNWARD, atol=1e-3, rtol=0)
    assert "up is estimated as (" in caplog.text


@pytest.mark.parametrize("up", [torch.zeros(3), torch.ones(2), torch.tensor([0.0, 0.0, float("inf")])])
def test_rejects_an_up_without_direction(up: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="scene: up must be three finite numbers"):
        with_up(Scene(points=floor(3)), up)
