"""Consistency of relations: zero for turned geometry, an N × N reference, centring, and who gets a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.losses.iirc import IircSettings, drawn_superpoints, iirc

S, G, C = 12, 5, 7


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Geometric and semantic rows, and a centre of geometry."""
    seed = torch.Generator().manual_seed(0)
    sizes = ((S, G), (S, C), (G,))
    geometric, semantic, centre = (torch.randn(*size, dtype=torch.float64, generator=seed) for size in sizes)
    return geometric, semantic, centre


def test_zero_for_turned_geometry() -> None:
    geometric, _, centre = data()
    turn = torch.linalg.qr(torch.randn(C, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q[:G]
    for settings in (IircSettings(), IircSettings(normalize=False)):
        assert iirc(geometric, geometric @ turn, settings).item() == pytest.approx(0, abs=1e-12)
    lengths = torch.linspace(0.1, 5, S, dtype=torch.float64)[:, None]
    assert iirc(geometric, lengths * (geometric @ turn), IircSettings()).item() == pytest.approx(0, abs=1e-12)
    centred = IircSettings(centre_geometry=True)
    assert iirc(geometric, (geometric - centre) @ turn, centred, centre).item() == pytest.approx(0, abs=1e-12)
    assert iirc(geometric, geometric @ turn, centred, centre).item() > 1e-3


@pytest.mark.parametrize("centre_geometry", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_matches_the_pairwise_matrices(normalized: bool, centre_geometry: bool) -> None:
    geometric, semantic, centre = data()
    semantic.requires_grad_()
    settings = IircSettings(normalize=normalized, centre_geometry=centre_geometry)
    found = iirc(geometric, semantic, settings, centre)
    g = geometric - centre if centre_geometry else geometric
    g, s = (normalize(g, dim=1), normalize(semantic, dim=1)) if normalized else (g, semantic)
    expected = ((g @ g.T - s @ s.T) ** 2).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, semantic)[0] for each in (found, expected)))


@pytest.mark.parametrize("centre_geometry", [False, True])
def test_outputs_are_seen_from_the_mean_of_the_teacher(centre_geometry: bool) -> None:
    geometric, semantic, centre = data()
    mean = normalize(semantic, dim=1).mean(dim=0) + 0.1
    settings = IircSettings(centre_geometry=centre_geometry, centre_semantic=True)
    found = iirc(geometric, semantic.requires_grad_(), settings, centre, mean)
    g = normalize(geometric - centre if centre_geometry else geometric, dim=1)
    s = normalize(normalize(semantic, dim=1) - mean, dim=1)
    expected = ((g @ g.T - s @ s.T) ** 2).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, semantic)[0] for each in (found, expected)))
    assert torch.autograd.gradcheck(lambda leaf: iirc(geometric, leaf, settings, centre, mean), semantic)


def test_gradient_by_finite_differences_and_none_for_geometry() -> None:
    geometric, semantic, centre = data()
    settings = IircSettings(centre_geometry=True)
    assert torch.autograd.gradcheck(lambda leaf: iirc(geometric, leaf, settings, centre), semantic.requires_grad_())
    geometric.requires_grad_()
    iirc(geometric, semantic, settings, centre).backward()  # type: ignore[no-untyped-call]
    assert geometric.grad is None and semantic.grad is not None


def test_one_thing_has_no_relations_to_get_wrong() -> None:
    geometric, semantic, _ = data()
    semantic.requires_grad_()
    loss = iirc(geometric[:1], semantic[:1], IircSettings())
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(loss, semantic)[0].abs().max().item() < 1e-6
    assert iirc(geometric[:0], semantic[:0], IircSettings()).item() == 0


def test_superpoints_are_capped_by_random_choice() -> None:
    seed = torch.Generator().manual_seed(0)
    assert drawn_superpoints(5, IircSettings(), seed).tolist() == [0, 1, 2, 3, 4]
    first, second = (drawn_superpoints(50, IircSettings(most_superpoints=7), seed) for _ in range(2))
    assert len(first) == len(first.unique()) == 7 and not torch.equal(first, second)
    assert torch.equal(first, first.sort().values) and int(first.max()) < 50


def test_bad_settings_and_a_missing_centre() -> None:
    with pytest.raises(ValueError, match="most_superpoints must be positive"):
        IircSettings(most_superpoints=0)
    with pytest.raises(ValueError, match="neither masks nor superpoints"):
        IircSettings(masks=False, superpoints=False)
    with pytest.raises(ValueError, match=r"set iirc.normalize too"):
        IircSettings(centre_semantic=True, normalize=False)
    geometric, semantic, _ = data()
    with pytest.raises(ValueError, match="needs the mean unit image feature"):
        iirc(geometric, semantic, IircSettings(centre_semantic=True))
    with pytest.raises(ValueError, match="needs the mean geometric feature"):
        iirc(geometric, semantic, IircSettings(centre_geometry=True))
