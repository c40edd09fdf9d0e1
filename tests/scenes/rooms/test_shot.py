"""Frames: known answers, ground truth that fits, and sensor noise of the stated size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoguide3d.scenes.rooms import CATEGORIES, Room, make_room
from geoguide3d.scenes.rooms.light import Light
from geoguide3d.scenes.rooms.materials import Paint
from geoguide3d.scenes.rooms.placement import Pose
from geoguide3d.scenes.rooms.plan import Plan
from geoguide3d.scenes.rooms.shot import DEPTH_NOISE_M, DEPTH_NOISE_PER_M, Shot
from geoguide3d.scenes.rooms.surface import Painted, Surface
from geoguide3d.scenes.rooms.walk import look_at

pytest.importorskip("open3d")

RED = Paint("plain", (0.6, 0.0, 0.0), (0.6, 0.0, 0.0))
LIGHT = Light(np.array([2.0, 1.5, 2.2]), np.ones(3), np.array([0.0, 0.0, 1.0]), np.zeros(3), np.full(3, 0.5), 1.0)


def _empty_room() -> Surface:
    shell = Plan(4.0, 3.0, 2.5).shell().values()
    return Surface([Painted(shape, Pose(0, 0, 0, 0), {"main": RED, "trim": RED}) for shape in shell])


def test_depth_of_a_wall_seen_straight_is_its_distance_everywhere() -> None:
    camera = look_at(np.array([1.0, 1.5, 1.25]), np.array([4.0, 1.5, 1.25]), 64, 48)
    frame = Shot(_empty_room(), LIGHT, camera).frame(np.array([7, 8, 9]))
    centre = frame.depth[16:32, 16:48]
    torch.testing.assert_close(centre, torch.full_like(centre, 3.0), atol=1e-4, rtol=0)
    assert (frame.labels[16:32, 16:48] == 7).all()
    assert (frame.instances[16:32, 16:48] == 0).all()
    assert (frame.labels[-1, 16:48] == 8).all()  # the floor is below
    assert (frame.labels[0, 16:48] == 9).all()  # the ceiling above
    assert (frame.color[..., 1:] == 0).all()  # red paint under white light
    assert frame.color[24, 32, 0] > 60


def test_a_camera_outside_sees_nothing_where_there_is_nothing() -> None:
    camera = look_at(np.array([-1.0, 1.5, 1.25]), np.array([-4.0, 1.5, 1.25]), 8, 6)
    frame = Shot(_empty_room(), LIGHT, camera).frame(np.array([0, 1, 2]))
    assert frame.depth.tolist() == torch.zeros(6, 8).tolist()
    assert (frame.labels == 255).all()
    assert (frame.instances == -1).all()
    assert (frame.color == 0).all()


def test_labels_are_those_of_the_instances(bedroom: Room) -> None:
    frame = bedroom.render(bedroom.cameras()[4])
    for instance in frame.instances.unique().tolist():
        item = bedroom.objects[instance]
        assert item.instance == instance
        assert (frame.labels[frame.instances == instance] == CATEGORIES.index(item.category)).all()


def test_sensor_depth_has_holes_and_noise_of_the_stated_size(bedroom: Room) -> None:
    deviations, holes = [], []
    for view in bedroom.views()[:8]:
        assert view.read_depth is not None
        exact, sensed = bedroom.render(view.camera).depth, view.read_depth()
        known = sensed > 0
        holes.append(1 - known.float().mean().item())
        deviations.append(((sensed - exact) / (DEPTH_NOISE_M + DEPTH_NOISE_PER_M * exact**2))[known])
    normalised = torch.cat(deviations)
    assert abs(normalised.std().item() - 1) < 0.02
    assert abs(normalised.mean().item()) < 0.02
    assert 0.005 < np.mean(holes) < 0.3


def test_sensor_color_is_near_the_exact_color_but_not_equal(bedroom: Room) -> None:
    view = bedroom.views()[2]
    exact, sensed = bedroom.render(view.camera).color.float(), view.read_color().float()
    assert 1 < (exact - sensed).abs().mean() < 20


def test_reading_in_any_order_gives_the_same_pixels() -> None:
    first, second = make_room(5).views(), make_room(5).views()
    backwards = [view.read_color() for view in second[:3][::-1]][::-1]
    for view, color in zip(first[:3], backwards, strict=True):
        assert torch.equal(view.read_color(), color)
