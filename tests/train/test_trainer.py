"""Whole runs of a tiny network: what they learn, what they leave, how they stop and go on."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from convspec.data import Dataset, Split
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.program.program import Constraint, Update
from convspec.program.schedule import Schedule, ScheduleKind
from convspec.train import checkpoint as checkpoints
from convspec.train import loop
from convspec.train.display import SilentDisplay
from convspec.train.signals import Interrupted
from convspec.train.trainer import train
from tests.train.runs import SPEC, assert_same_run, go, metrics, weights
from tests.train.tinynet import Compiled, Data, TinyNet, Train, constant, tiny_program


def test_learns_the_digits(tmp_path: Path) -> None:
    result = go(Compiled(train=Train(epochs=6)), tmp_path / "run")
    assert result.finished
    assert (result.epochs, result.steps) == (6, 6 * 23)
    assert result.validation is not None
    assert result.validation.cases == 359
    assert result.validation.error < 0.1
    assert result.best_error is not None
    assert result.best_error <= result.validation.error


def test_metrics_say_what_happened(tmp_path: Path) -> None:
    result = go(Compiled(), tmp_path / "run", log_every=5)
    records = metrics(tmp_path / "run")
    steps = [r["step"] for r in records if r["event"] == "step"]
    assert steps == [1, 6, 11, 16, 21, 24, 29, 34, 39, 44], "log_every counts within an epoch"
    validations = [r for r in records if r["event"] == "validation"]
    assert [v["epoch"] for v in validations] == [1, 2]
    assert result.validation is not None
    assert validations[-1]["test"] == result.validation.record()
    assert validations[-1]["train"]["cases"] == 1438
    assert validations[-1]["train"]["loss"] < validations[0]["train"]["loss"]


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "one")
    go(SPEC, tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "two")
    go(replace(SPEC, train=replace(SPEC.train, seed=1)), tmp_path / "three")
    assert metrics(tmp_path / "three") != metrics(tmp_path / "one")


@pytest.mark.parametrize("stop", [3, 23, 30])
def test_goes_on_to_the_bit(tmp_path: Path, stop: int) -> None:
    """Stopped within an epoch, or at the end of one with its validation still to come."""
    compiled = replace(SPEC, train=replace(SPEC.train, schedule="plateau", plateau_patience=1))
    go(compiled, tmp_path / "whole")
    part = go(compiled, tmp_path / "part", max_steps=stop)
    assert (part.steps, part.finished) == (stop, False)
    assert go(compiled, resume=tmp_path / "part").finished
    assert_same_run(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize(
    "update",
    [
        Update(Schedule(ScheduleKind.EXP, 0.2, 50), 0.9, 0.001),
        Update(Schedule(ScheduleKind.EXP, 0.2, 50, noise=0.5), 0.9, 0.001),
        Update(Schedule.constant(0.2), 0.9, 0.001, period=4, constraint=Constraint(norm=1.0)),
        Update(Schedule.constant(0.002), 0.9, 0.001, damping=0.1, counts_cases=True),
    ],
    ids=["falling", "noisy", "period", "normalised"],
)
def test_goes_on_through_each_rule(tmp_path: Path, update: Update) -> None:
    compiled = replace(SPEC, program=tiny_program(update, constant(0.1)))
    go(compiled, tmp_path / "whole")
    go(compiled, tmp_path / "part", max_steps=29)
    go(compiled, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize("lost", ["rng/cpu", "momentum/conv1.weight"])
def test_a_checkpoint_without_a_part_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """The broken twins of the test above: each part of a checkpoint matters to the bits."""
    go(SPEC, tmp_path / "whole")
    go(SPEC, tmp_path / "part", max_steps=9)
    load = checkpoints.load_checkpoint

    def load_less(path: Path) -> checkpoints.Checkpoint:
        whole = load(path)
        return replace(whole, training={**whole.training, lost: torch.zeros_like(whole.training[lost])})

    monkeypatch.setattr(checkpoints, "load_checkpoint", load_less)
    if lost == "rng/cpu":
        monkeypatch.setattr(torch, "set_rng_state", lambda state: torch.manual_seed(5))
    go(SPEC, resume=tmp_path / "part")
    assert metrics(tmp_path / "part")[:9] == metrics(tmp_path / "whole")[:9]
    assert metrics(tmp_path / "part") != metrics(tmp_path / "whole")


def test_goes_on_from_the_checkpoint_before_a_broken_one(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "whole")
    go(SPEC, tmp_path / "part", max_steps=10)
    newest = checkpoints.list_checkpoints(tmp_path / "part" / "checkpoints")[-1] / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    told: list[Diagnostic] = []
    go(SPEC, resume=tmp_path / "part", notify=told.append)
    assert [(d.code, d.severity) for d in told] == [("CS708", Severity.WARNING)]
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "run")
    before = metrics(tmp_path / "run")
    again = go(SPEC, resume=tmp_path / "run")
    assert again.finished
    assert again.steps == 69
    assert again.validation is None
    assert metrics(tmp_path / "run") == before


def test_a_run_that_is_removed_while_it_is_trained_does_not_come_back(tmp_path: Path) -> None:
    def removed() -> bool:
        shutil.rmtree(tmp_path / "run")
        return False

    with pytest.raises(DiagnosticError, match=r"CS706: .*run was removed, moved or replaced while it was trained"):
        go(SPEC, tmp_path / "run", is_enough=removed)
    assert not (tmp_path / "run").exists()


def test_another_spec_or_other_data_is_refused(tmp_path: Path) -> None:
    compiled = replace(SPEC, program=tiny_program(classes=16))
    go(compiled, tmp_path / "run", TinyNet(classes=16), max_steps=2)
    with pytest.raises(DiagnosticError, match=r"CS709.*another spec"):
        go(replace(compiled, resolved_text="[conv1]\n"), resume=tmp_path / "run")
    with pytest.raises(DiagnosticError, match=r"CS709.*other pictures"):
        go(compiled, resume=tmp_path / "run", data="photos")


def test_the_plateau_divides_the_rates_and_ends_the_run(tmp_path: Path) -> None:
    options = Train(epochs=50, schedule="plateau", plateau_patience=1, plateau_drops=1)
    frozen_but_one = replace(SPEC, program=tiny_program(constant(1e-9), constant(1e-9)), train=options)
    result = go(frozen_but_one, tmp_path / "run")
    records = metrics(tmp_path / "run")
    validations = [r for r in records if r["event"] == "validation"]
    assert result.finished
    assert result.epochs == 3
    assert [v["rates_divided"] for v in validations] == [0, 1, 1]
    assert [r["rate"] for r in records if r["event"] == "step"][::23] == pytest.approx([1e-9, 1e-9, 1e-10])


def test_validates_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    go(Compiled(train=Train(epochs=5, validate_every=2)), tmp_path / "run")
    assert [r["epoch"] for r in metrics(tmp_path / "run") if r["event"] == "validation"] == [2, 4, 5]


def test_bf16_learns_too(tmp_path: Path) -> None:
    result = go(Compiled(train=Train(epochs=5, precision="bf16")), tmp_path / "run")
    assert result.validation is not None
    assert result.validation.error < 0.15
    go(Compiled(train=Train(epochs=5)), tmp_path / "fp32")
    assert metrics(tmp_path / "run") != metrics(tmp_path / "fp32")


def test_trains_on_photographs(tmp_path: Path) -> None:
    compiled = Compiled(program=tiny_program(classes=16))
    result = go(compiled, tmp_path / "run", TinyNet(classes=16), data="photos", max_steps=1)
    assert result.steps == 1
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["data"] == "photos"


class Exploding(TinyNet):
    """conv1 gives infinity in the third step."""

    steps = 0

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps >= 3:
            inputs = {**inputs, "data": inputs["data"] * 1e38 * 1e3}
        return super().forward(inputs)


class Overflowing(TinyNet):
    """All is finite up to fc2."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2.register_forward_hook(lambda module, arguments, output: output * float("inf"))


class LossAlone(TinyNet):
    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["logprob"] * float("nan")


@pytest.mark.parametrize(
    ("network", "step", "names"),
    [(Exploding, 3, "output of layer conv1"), (Overflowing, 1, "output of layer fc2"), (LossAlone, 1, "gradient of")],
)
def test_a_loss_that_is_not_finite_names_the_layer(
    tmp_path: Path, network: type[TinyNet], step: int, names: str
) -> None:
    compiled = Compiled(train=Train(checkpoint_every=1))
    with pytest.raises(DiagnosticError, match=f"CS707: the loss is (nan|inf) at step {step};.*{names}") as caught:
        go(compiled, tmp_path / "run", network())
    assert caught.value.diagnostics[0].help
    if step > 1:
        assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_a_rate_that_is_too_high_names_a_layer(tmp_path: Path) -> None:
    compiled = Compiled(program=tiny_program(constant(1e30), constant(1e30)))
    with pytest.raises(DiagnosticError, match=r"CS707.*(conv1|fc2)"):
        go(compiled, tmp_path / "run")


class Raising(TinyNet):
    """Sends its own process a signal in the fifth step of training, or in the first test batch."""

    def __init__(self, *, in_test: bool) -> None:
        super().__init__()
        self.in_test, self.steps = in_test, 0

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += self.training
        if not self.training if self.in_test else self.steps == 5:
            signal.raise_signal(signal.SIGTERM)
        return super().forward(inputs)


@pytest.mark.parametrize("in_test", [False, True])
def test_a_signal_saves_and_raises(tmp_path: Path, in_test: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        go(SPEC, tmp_path / "part", Raising(in_test=in_test))
    assert caught.value.step == (23 if in_test else 5)
    assert caught.value.checkpoint.is_dir()
    assert signal.getsignal(signal.SIGTERM) == before
    go(SPEC, tmp_path / "whole")
    go(SPEC, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_a_full_disk_stops_the_run_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(SPEC, tmp_path / "whole")
    write, written = checkpoints.write_file, 0

    def write_until_full(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > 7:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(checkpoints, "write_file", write_until_full)
    with pytest.raises(DiagnosticError, match="CS711"):
        go(SPEC, tmp_path / "part")
    monkeypatch.undo()
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path / "part" / "checkpoints")] == [
        "0000-00000004",
        "0000-00000008",
    ]
    go(SPEC, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_a_mistake_leaves_no_run_folder(tmp_path: Path) -> None:
    for options in ({"data": str(tmp_path / "nowhere")}, {"device": "cuda:99"}, {"device": "toaster"}):
        with pytest.raises(DiagnosticError, match=r"CS7(01|10)"):
            go(SPEC, tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()


def test_an_unwritable_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DiagnosticError, match="CS706"):
        go(SPEC, tmp_path / "file")
    with pytest.raises(DiagnosticError, match="CS706"):
        train(SPEC, network=TinyNet(), numbered=tmp_path / "file" / "run", display=SilentDisplay())


def test_a_network_without_a_cost(tmp_path: Path) -> None:
    program = replace(SPEC.program, operators=SPEC.program.operators[:-1])
    with pytest.raises(DiagnosticError, match=r"CS602.*cost"):
        go(replace(SPEC, program=program), tmp_path / "run")


def test_a_network_that_cannot_learn(tmp_path: Path) -> None:
    program = tiny_program(constant(0), constant(0))
    with pytest.raises(DiagnosticError, match=r"CS602.*learning rate"):
        go(replace(SPEC, program=program), tmp_path / "run")


def test_one_layer_may_be_frozen(tmp_path: Path) -> None:
    go(replace(SPEC, program=tiny_program(constant(0), constant(0.1))), tmp_path / "run")
    start = TinyNet()
    torch.manual_seed(SPEC.train.seed)
    start.reset_parameters()
    assert torch.equal(start.fc2.weight, weights(tmp_path / "run")["fc2.weight"])
    assert not torch.equal(start.fc2.bias, weights(tmp_path / "run")["fc2.bias"])


class Certain(TinyNet):
    """Gives test pictures a probability of 0 for their label: a loss of infinity."""

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        outputs = super().forward(inputs)
        return outputs if self.training else {**outputs, "logprob": outputs["logprob"] + float("inf")}


def test_an_infinite_test_loss_is_null_in_the_metrics(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "run", Certain())
    validations = [r for r in metrics(tmp_path / "run") if r["event"] == "validation"]
    assert [v["test"]["costs"]["logprob"]["loss"] for v in validations] == [None] * 3


def test_another_number_of_threads_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(SPEC, tmp_path / "run", max_steps=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    told: list[Diagnostic] = []
    go(SPEC, resume=tmp_path / "run", max_steps=4, notify=told.append)
    assert [(d.code, d.severity) for d in told] == [("CS709", Severity.NOTE)]
    assert "77 now" in told[0].message


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    from PIL import Image

    for label in range(3):
        (tmp_path / "set" / f"class{label}").mkdir(parents=True)
        for i in range(6):
            Image.new("L", (20, 16), 80 * label + i).save(tmp_path / "set" / f"class{label}" / f"{i}.png")
    compiled = replace(SPEC, data=Data(provider="folder", path=str(tmp_path / "set"), mirror=True))
    result = go(compiled, tmp_path / "run")
    assert result.finished
    assert result.validation is not None
    assert result.validation.cases == 3


@pytest.mark.parametrize("crop", ["random", "center"])
def test_crops_are_cut_where_the_data_say(crop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Stream(loop.BatchStream):
        def __init__(self, dataset: Dataset, split: Split, **options: Any) -> None:
            asked.append((split, options["is_centered"]))
            super().__init__(dataset, split, **options)

    monkeypatch.setattr(loop, "BatchStream", Stream)
    go(replace(SPEC, data=replace(SPEC.data, crop=crop)), tmp_path / "run", max_steps=1)
    assert asked == [(Split.TRAIN, crop == "center")]
