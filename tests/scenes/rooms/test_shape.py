"""Shapes keep their parts where the methods say."""

from __future__ import annotations

import pytest

from geoguide3d.scenes.rooms.shape import Shape


@pytest.mark.parametrize(("span", "height"), [(0.7, 0.42), (0.4, 0.7)])
def test_crossed_legs_reach_from_the_floor_to_the_height_over_the_whole_span(span: float, height: float) -> None:
    shape = Shape()
    shape.crossed_legs("frame", 0.3, span, height, 0.05)
    low, high = shape.bounds()
    assert (low[2], high[2]) == pytest.approx((0.0, height))
    assert (low[0], high[0]) == pytest.approx((0.25, 0.35))
    assert (low[1], high[1]) == pytest.approx((-span / 2, span / 2))
    first, second = (part.mesh.vertices for part in shape.parts)
    assert first[:, 0].max() == pytest.approx(second[:, 0].min())  # beside each other, not in each other
    for leg, foot in ((first, -1), (second, 1)):
        assert leg[leg[:, 2].argmin(), 1] * foot > 0.3 * span
        assert leg[leg[:, 2].argmax(), 1] * foot < -0.3 * span
