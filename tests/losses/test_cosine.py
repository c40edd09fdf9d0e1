"""The cosine distance: known answers, gradient, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.losses.cosine import cosine_distance


def test_known_answers() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    targets = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-0.5, 0.0]])
    for count, expected in ((1, 0.0), (2, 0.5), (3, 1.0)):
        assert cosine_distance(rows[:count], targets[:count]).item() == pytest.approx(expected)


def test_lengths_do_not_matter() -> None:
    rows, targets = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0)).unbind()
    scale = torch.linspace(0.1, 9, 50).unsqueeze(1)
    torch.testing.assert_close(cosine_distance(rows * scale, targets / scale), cosine_distance(rows, targets))


def test_gradient() -> None:
    rows, targets = torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    assert torch.autograd.gradcheck(lambda value: cosine_distance(value, targets), rows.requires_grad_())


def test_zero_row_counts_as_orthogonal_and_keeps_the_gradient_finite() -> None:
    rows = torch.zeros(1, 4, requires_grad=True)
    loss = cosine_distance(rows, torch.ones(1, 4))
    loss.backward()
    assert loss.item() == 1.0
    assert rows.grad is not None
    assert bool(torch.isfinite(rows.grad).all())


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3, 4), (2, 4)), ((4,), (4,)), ((0, 4), (0, 4))])
def test_rejects_other_shapes_and_nothing(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"no rows|of one shape"):
        cosine_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
