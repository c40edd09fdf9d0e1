"""trainer: the learning rate's course, the average, checkpoints, and resuming."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import RunFolder
from geoguide3d.training.schedule import Schedule
from geoguide3d.training.trainer import Trainer, train


class Fit(Trainer[nn.Linear]):
    """Learns to add two numbers."""

    def terms(self, part: int) -> dict[str, Tensor]:
        x = torch.randn(16, 2, generator=self.generator(part))
        return {"loss": (self.model(x) - x.sum(dim=1, keepdim=True)).square().mean()}


def fit(**changes: float) -> Fit:
    torch.manual_seed(0)
    settings = {"steps": 30, "learning_rate": 0.05, "warm_up": 5, "average": 0.9, "checkpoint_steps": 10} | changes
    return Fit(nn.Linear(2, 1), Schedule(**settings))  # type: ignore[arg-type]


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = Schedule(steps=110, learning_rate=1.0, warm_up=10)
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(9) == schedule.rate(10) == 1.0
    assert schedule.rate(60) == pytest.approx(0.5)
    assert schedule.rate(110) == pytest.approx(0)
    rates = [schedule.rate(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


def test_poly_falls_as_openscenes_rate_does() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warm_up=0, decay="poly")
    assert [schedule.rate(step) for step in (0, 50, 99)] == pytest.approx([1.0, 0.5**0.9, 0.01**0.9])


def test_adam_is_adam_without_decay() -> None:
    run = fit(optimizer="adam", weight_decay=0.0, warm_up=0, decay="poly")  # type: ignore[arg-type]
    twin = nn.Linear(2, 1)
    twin.load_state_dict(run.model.state_dict())
    adam = torch.optim.Adam(twin.parameters(), lr=0.05)
    for step in range(5):
        x = torch.randn(16, 2, generator=run.generator())
        adam.param_groups[0]["lr"] = 0.05 * (1 - step / 30) ** 0.9
        adam.zero_grad()
        (twin(x) - x.sum(dim=1, keepdim=True)).square().mean().backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 5.0)
        adam.step()
        run.step()
    torch.testing.assert_close(run.model.weight, twin.weight)


def test_parts_of_a_step_have_random_numbers_of_their_own() -> None:
    run = fit()
    drawn = []
    for step in range(50):
        run.step_count = step
        drawn += [int(torch.randint(2**40, (1,), generator=run.generator(part))) for part in range(8)]
    assert len(set(drawn)) == 400


def test_more_processes_than_parts_are_refused() -> None:
    three = Processes()
    three.count = 3
    with pytest.raises(ValueError, match=r"3 processes cannot share 2 part\(s\) of a step"):
        Fit(nn.Linear(2, 1), Schedule(), parts=2, processes=three)


@pytest.mark.parametrize(
    ("power", "what"), [(1.0, "loss"), (0.5, "length of the gradient")]
)  # the root of 0 is finite, its slope is not
def test_what_is_not_finite_stops_the_run_before_it_reaches_weights_or_checkpoint(
    tmp_path: Path, power: float, what: str
) -> None:
    class Breaks(Fit):
        def terms(self, part: int) -> dict[str, Tensor]:
            loss = super().terms(part)["loss"]
            if self.step_count < 10:
                return {"loss": loss}
            broken = (0.0 * loss) ** power
            return {"loss": broken / 0 if power == 1 else broken}

    torch.manual_seed(0)
    run = Breaks(nn.Linear(2, 1), fit().schedule)
    with pytest.raises(ValueError, match=rf"step 11: the {what} is nan; lower training.learning_rate, now 0.05"):
        train(run, RunFolder(tmp_path))
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert torch.equal(run.model.weight, kept["weight"])
    assert torch.isfinite(kept["weight"]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("average", 1.0), ("average", -0.1), ("average", math.nan), ("warm_up", -1), ("weight_decay", -0.1)],
)
def test_a_schedule_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"training\.{name} must .*, got {value}"):
        fit(**{name: value})


def test_learns_and_stops_at_the_end(tmp_path: Path) -> None:
    run = fit(steps=150)
    before = float(run.terms(0)["loss"].detach())
    train(run, RunFolder(tmp_path))
    assert run.step_count == 150
    assert float(run.terms(0)["loss"].detach()) < 0.05 * before
    again = fit(steps=150)
    train(again, RunFolder(tmp_path))  # a finished run is only read
    assert again.step_count == 150
    assert torch.equal(again.averaged.weight, run.averaged.weight)


def test_a_run_ends_with_a_checkpoint_whatever_its_steps(tmp_path: Path) -> None:
    run = fit(steps=13)
    train(run, RunFolder(tmp_path))
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 13
    assert torch.equal(kept["averaged"]["weight"], run.averaged.weight)


def test_what_a_step_does_not_use_has_a_gradient_of_zero() -> None:
    """Where other processes have none of it either, and where they have: the optimiser's momentum goes on alike."""

    class Once(Fit):
        def terms(self, part: int) -> dict[str, Tensor]:
            used = self.model.weight if self.step_count else self.model.weight + self.model.bias
            return {"loss": used.square().sum()}

    torch.manual_seed(0)
    run = Once(nn.Linear(2, 1), fit().schedule)
    run.step()
    before = run.model.bias.detach().clone()
    run.step()
    assert not torch.equal(run.model.bias, before)


def test_a_run_stopped_between_checkpoints_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = fit()
    whole_log = train(whole, None)

    class Stops(Fit):
        def terms(self, part: int) -> dict[str, Tensor]:
            if self.step_count == 17:
                raise KeyboardInterrupt
            return super().terms(part)

    torch.manual_seed(0)
    stopped = Stops(nn.Linear(2, 1), whole.schedule)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, RunFolder(tmp_path))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 10
    resumed = fit()
    assert train(resumed, RunFolder(tmp_path)) == whole_log
    for kept in ("model", "averaged"):
        for name, value in whole.state_dict()[kept].items():
            assert torch.equal(value, resumed.state_dict()[kept][name])


def test_the_average_is_that_of_the_weights() -> None:
    run = fit()
    expected = run.averaged.weight.clone()
    for count in range(1, 40):
        run.step()
        decay = min(0.9, count / (count + 10))
        expected = decay * expected + (1 - decay) * run.model.weight.detach()
        torch.testing.assert_close(run.averaged.weight, expected)
    assert not run.averaged.weight.requires_grad
    assert not run.averaged.training


def test_matrices_decay_and_biases_do_not() -> None:
    run = fit(weight_decay=0.5, learning_rate=1e-9)
    groups = run.state_dict()["optimizer"]["param_groups"]
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.5), (1, 0.0)]
