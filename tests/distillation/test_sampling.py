"""Samples: whole superpoints, both kinds of points, everything cut to the same points."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.sample import Sample
from geoguide3d.distillation.sampling import Unit, draw
from geoguide3d.geometry.masks import PointMasks


def scene(count: int, superpoints: int, seed: int = 0) -> Lesson:
    """Points whose one feature is their number, taught where it is a multiple of 3, with the number as target."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(superpoints, (count,), generator=generator)
    taught = torch.arange(0, count, 3)
    numbers = torch.arange(count, dtype=torch.float32)
    masks = PointMasks.from_labels(torch.randint(-1, 4, (count,), generator=generator))
    contiguous = torch.unique(ids, return_inverse=True)[1]
    return Lesson(f"scene {seed}", numbers[:, None], taught, numbers[taught, None].expand(-1, 2), contiguous, masks)


def drawn(lesson: Lesson, most: int, seed: int = 0, unit: Unit = "superpoints") -> tuple[Sample, torch.Tensor]:
    sample = draw(lesson, most, torch.Generator().manual_seed(seed), unit)
    return sample, sample.geometric[:, 0].to(torch.int64)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 90),
    superpoints=st.integers(1, 30),
    most=st.integers(1, 100),
    seed=st.integers(0, 2**32 - 1),
    unit=st.sampled_from(["points", "superpoints"]),
)
def test_all_parts_speak_of_the_same_points(count: int, superpoints: int, most: int, seed: int, unit: Unit) -> None:
    lesson = scene(count, superpoints, seed % 7)
    sample, points = drawn(lesson, most, seed, unit)
    assert len(sample) == min(count, most)
    assert bool((points.diff() > 0).all())
    assert torch.equal(sample.taught, points % 3 == 0)
    assert torch.equal(sample.targets, torch.where(sample.taught, points, 0)[:, None].expand(-1, 2).float())
    assert lesson.superpoints is not None and sample.superpoints is not None
    assert sorted(set(sample.superpoints.tolist())) == list(range(int(sample.superpoints.max()) + 1))
    pairs = set(zip(sample.superpoints.tolist(), lesson.superpoints[points].tolist(), strict=True))
    assert len(pairs) == len({new for new, _ in pairs}) == len({old for _, old in pairs})
    assert lesson.masks is not None and sample.masks is not None
    assert torch.equal(sample.masks.to_dense(), lesson.masks.to_dense()[:, points])


@settings(max_examples=40, deadline=None)
@given(superpoints=st.integers(80, 200), most=st.integers(160, 899), seed=st.integers(0, 2**32 - 1))
def test_small_superpoints_are_whole_but_for_one(superpoints: int, most: int, seed: int) -> None:
    lesson = scene(900, superpoints)
    _, points = drawn(lesson, most, seed)
    assert lesson.superpoints is not None
    sizes = torch.bincount(lesson.superpoints)
    found = torch.bincount(lesson.superpoints[points], minlength=len(sizes))
    assert int(((found > 0) & (found < sizes) & (sizes <= most // 16)).sum()) <= 1


def test_a_floor_does_not_fill_a_step_and_has_its_share() -> None:
    """One superpoint of 4,000 points among 200 of 30, and samples of 1,600."""
    ids = torch.cat([torch.zeros(4000, dtype=torch.int64), 1 + torch.arange(6000) // 30])
    lesson = replace(scene(10_000, 1), superpoints=ids, masks=None)
    samples = [drawn(lesson, 1600, seed)[1] for seed in range(60)]
    assert min(len(ids[points].unique()) for points in samples) > 16
    floor = torch.tensor([float((ids[points] == 0).float().mean()) for points in samples])
    assert 0.37 < float(floor.mean()) < 0.43  # 16 units of it among 100 in all: 0.4, give or take 0.01
    hits = torch.bincount(torch.cat(samples)[ids[torch.cat(samples)] == 0], minlength=4000)
    assert int((hits > 0).sum()) > 3990  # its parts are drawn anew each time


def test_points_are_drawn_evenly_from_all_superpoints() -> None:
    lesson = replace(scene(100, 1), superpoints=torch.arange(100) // 10)
    hits = sum(torch.bincount(drawn(lesson, 35, seed, "points")[1], minlength=100) for seed in range(600))
    assert isinstance(hits, torch.Tensor)
    assert bool(((hits - 210).abs() < 60).all())
    shares = torch.stack(
        [torch.bincount(drawn(lesson, 35, seed, "points")[1] // 10, minlength=10) for seed in range(50)]
    )
    assert int(shares.max()) < 10  # no superpoint is whole in any of 50 samples: 35 of 100 points


def test_every_superpoint_is_as_likely_and_so_is_every_point() -> None:
    lesson = replace(scene(100, 1), superpoints=torch.arange(100) // 10)
    hits = sum(torch.bincount(drawn(lesson, 35, seed)[1], minlength=100) for seed in range(600))
    assert isinstance(hits, torch.Tensor)
    assert bool(((hits - 210).abs() < 70).all())  # 35 of 100, 600 times: 210 ± 12, and superpoints come together


def test_points_are_drawn_where_there_are_no_superpoints() -> None:
    lesson = replace(scene(100, 5), superpoints=None, masks=None)
    sample, points = drawn(lesson, 40)
    assert (len(sample), sample.superpoints, sample.masks) == (40, None, None)
    assert not torch.equal(points, drawn(lesson, 40, seed=1)[1])
    assert torch.equal(points, drawn(lesson, 40)[1])


def test_one_superpoint_larger_than_the_sample_is_cut_at_random() -> None:
    lesson = scene(100, 1)
    sample, points = drawn(lesson, 10)
    assert len(points) == 10
    assert sample.superpoints is not None and not sample.superpoints.any()
    assert int(points.max()) > 30
