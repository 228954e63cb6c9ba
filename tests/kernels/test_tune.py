"""The tuner where there is no GPU: the command around the search, and what the search asks for. What it runs, in the
interpreter, is in `tuning_interpreted.py`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton

from convspec.compiler import compile_spec
from convspec.program.operators import FusedLRNPool
from convspec_kernels import gpu_clock, triton_kernels, triton_tables, tune, tuning
from convspec_kernels.options import Pool
from convspec_kernels.triton_configs import Climb, Config, Configuration, Direction, Problem, Walk
from convspec_kernels.triton_tables import Measured, Table
from convspec_kernels.tuning import Found, Layer

SPECS = Path(__file__).parents[2] / "specs"
ABOUT = {"device": "Pretended GPU", "triton": triton.__version__}
WALKED = Problem(Direction.FORWARD, (128, 96, 55, 55), torch.float32, True, 5, 2, Pool(3, 2, 0, 27, 27))
PROBLEMS = [WALKED, WALKED._replace(direction=Direction.BACKWARD), WALKED._replace(dtype=torch.bfloat16)]


def tuned(problem: Problem, clock: object = None) -> Found:
    rule = triton_kernels.rule(problem)
    return Found(Measured(Walk(1, 1, 4), 70.0, rule, 77.0), 40, 2)


@pytest.fixture(autouse=True)
def _pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device, and a search that knows the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_clock, "unable", lambda: None)
    monkeypatch.setattr(gpu_clock, "name", lambda: "Pretended GPU")
    monkeypatch.setattr(gpu_clock, "has_bfloat16", lambda: True)
    monkeypatch.setattr(gpu_clock, "describe", lambda copy: dict(ABOUT))
    monkeypatch.setattr(gpu_clock, "Clock", lambda: SimpleNamespace(copy_bandwidth=lambda: 1e9))
    monkeypatch.setattr(tuning, "problems", lambda: iter(PROBLEMS))
    monkeypatch.setattr(tuning, "tune", tuned)


def test_writes_a_table_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main([]) == 0
    table = triton_tables.read(Path("pretended-gpu.json"))
    assert table == Table(ABOUT, {problem: tuned(problem).best for problem in PROBLEMS})
    printed = capsys.readouterr().out
    assert "device: Pretended GPU" in printed
    line = "2/3 backward 128x96x55x55 float32 NHWC window 5, pool 3/2: 70.0 us, 1.10x the rule's 77.0: Walk("
    assert line in printed
    assert printed.endswith("pretended-gpu.json: done\n")


def test_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped in the second problem, given again with no time, given again: nothing is measured twice."""
    asked: list[Problem] = []

    def interrupted(problem: Problem, clock: object) -> Found:
        asked.append(problem)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return tuned(problem)

    monkeypatch.setattr(tuning, "tune", interrupted)
    assert tune.main(["t.json"]) == 130
    assert "interrupted: the same command goes on" in capsys.readouterr().err
    assert list(triton_tables.read(Path("t.json")).entries) == PROBLEMS[:1]
    assert tune.main(["t.json", "--minutes", "0"]) == 0
    assert "the time is up: 1 of 3 problems; the same command goes on" in capsys.readouterr().out
    assert tune.main(["t.json"]) == 0
    assert "t.json: 1 of 3 problems are there" in capsys.readouterr().out
    assert asked == [PROBLEMS[0], PROBLEMS[1], PROBLEMS[1], PROBLEMS[2]]
    assert list(triton_tables.read(Path("t.json")).entries) == PROBLEMS


def test_the_time_is_looked_at_before_each_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = itertools.count(0.0, 40.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    assert tune.main(["t.json", "--minutes", "1"]) == 0
    assert "the time is up: 1 of 3 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("of 80 GiB"), tuning.Wrong("no numbers")], ids=["memory", "wrong"]
)
def test_goes_on_after_what_cannot_be_tuned(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def first_fails(problem: Problem, clock: object) -> Found:
        if problem == PROBLEMS[0]:
            raise error
        return tuned(problem)

    monkeypatch.setattr(tuning, "tune", first_fails)
    assert tune.main(["t.json"]) == 0
    assert list(triton_tables.read(Path("t.json")).entries) == PROBLEMS[1:]
    said = "".join(capsys.readouterr())
    assert "1/3 forward 128x96x55x55 float32 NHWC" in said
    assert "does not fit" in said or "no numbers" in said


def test_leaves_out_what_the_device_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_clock, "has_bfloat16", lambda: False)
    assert tune.main(["t.json"]) == 0
    assert list(triton_tables.read(Path("t.json")).entries) == PROBLEMS[:2]


REFUSED = {
    "no table": ("important notes", "t.json is no table"),
    "another device": ('{"form": 1, "about": {"device": "A", "triton": "3"}, "entries": []}', "with device A, this is"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_writes_over_nothing_else(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = REFUSED[what]
    Path("t.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        tune.main(["t.json"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert Path("t.json").read_text() == content


def test_says_that_it_cannot_write_before_it_measures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "tune", lambda problem, clock: pytest.fail("it measures"))
    with pytest.raises(SystemExit) as stopped:
        tune.main(["no/folder/t.json"])
    assert stopped.value.code == 2
    assert "cannot write no/folder/t.json: No such file" in capsys.readouterr().err


def test_keeps_what_it_has_where_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write: Callable[[Table, Path], None] = triton_tables.write

    def full(table: Table, path: Path) -> None:
        if len(table.entries) == 2:
            raise OSError(28, "No space left on device")
        write(table, path)

    monkeypatch.setattr(triton_tables, "write", full)
    assert tune.main(["t.json"]) == 1
    assert "cannot write t.json: No space left on device" in capsys.readouterr().err
    assert list(triton_tables.read(Path("t.json")).entries) == PROBLEMS[:1]


def test_says_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_clock, "unable", lambda: "torch finds no GPU")
    assert tune.main([]) == 1
    assert capsys.readouterr().err == "torch finds no GPU\n"


def test_all_shapes_of_our_specs_are_tuned() -> None:
    known = {*tuning.ALEXNET, *tuning.OTHERS}
    for name in ("alexnet", "alexnet-2012", "alexnet-small", "cifar-lrn", "cifar-relu", "vgg11", "alexnet-hybrid"):
        program = compile_spec(SPECS / f"{name}.cfg").program
        for operator in program.operators:
            if isinstance(operator, FusedLRNPool) and (operator.norm or operator.pool):
                channels, side, _ = program.values[operator.inputs[0]].shape.dims
                size, groups = (operator.norm.size, operator.norm.groups) if operator.norm else (0, 1)
                kernel, stride = (operator.pool.kernel_size[0], operator.pool.stride[0]) if operator.pool else (0, 1)
                assert Layer(channels, side, size, groups, kernel, stride) in known


def asked_of(problem: Problem, fastest: Callable[[Configuration], bool]) -> list[Configuration]:
    asked: list[Configuration] = []

    def time_of(config: Configuration) -> float:
        asked.append(config)
        return 0.0 if fastest(config) else 1.0

    tuning.search(problem, triton_kernels.rule(problem), time_of)
    return asked


def test_asks_for_strips_of_all_widths_and_even_lengths() -> None:
    asked = asked_of(WALKED, lambda config: config == Walk(2, 14, 1))
    assert asked[0] == triton_kernels.rule(WALKED)
    lengths = (1, 2, 3, 4, 5, 6, 7, 9, 14, 27)
    assert set(asked) == {*(Walk(c, r) for c in (1, 2, 3, 4) for r in lengths), Walk(2, 14, 2), Walk(2, 14, 4)}


def test_asks_for_climbs_in_more_and_more_parts() -> None:
    climbed = WALKED._replace(channels_last=False)
    asked = asked_of(climbed, lambda config: config == Climb(2, 24))
    parts = (48, 24, 16, 12, 8, 6, 4, 3)
    assert set(asked) == {*(Climb(rows, n) for rows in (1, 2, 3) for n in parts), Climb(2, 24, 2), Climb(2, 24, 4)}


def test_asks_for_tiles_that_fit() -> None:
    """Half of 64 channels is no tile for 48: with a border of 8 on either side it would be 16."""
    tiled = WALKED._replace(channels_last=False, direction=Direction.BACKWARD, pool=Pool(5, 3, 0, 17, 17))
    asked = asked_of(tiled, lambda config: config == Config(16, 64))
    assert {(config.block_pixels, config.block_channels) for config in asked if isinstance(config, Config)} == {
        *((pixels, channels) for pixels in (16, 32, 64) for channels in (32, 64))
    }
    assert {Config(16, 64, warps, rounds) for warps in (4, 8, 16) for rounds in (1, 2, 4, 8)} <= set(asked)
    narrow = tiled._replace(size=17)
    assert {
        config.block_channels for config in asked_of(narrow, lambda config: False) if isinstance(config, Config)
    } == {64}


def test_problems_are_of_all_kinds_the_most_wanted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    everything = list(tuning.problems())
    assert everything[0] == PROBLEMS[2]
    assert len(set(everything)) == len(everything)
    assert {problem.dtype for problem in everything} == set(tuning.TOLERANCES)
    assert {problem.shape[0] for problem in everything} == {128, 32, 256, 1}
    assert {(problem.direction, problem.channels_last) for problem in everything} == {
        *itertools.product(Direction, (True, False))
    }
    for problem in everything:
        assert triton_tables.misfit(problem, triton_kernels.rule(problem)) is None
