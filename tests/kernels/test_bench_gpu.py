"""The benchmark for GPUs where there is none: all but the kernels and the clock, on small maps on the CPU."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

import triton

from convspec_kernels import bench_gpu, eager, gpu_clock, triton_kernels
from convspec_kernels.bench_targets import Row, verdicts
from convspec_kernels.gpu_clock import Run

SECONDS = {"seconds": 2e-3}


class FakeClock:
    """Runs everything once, and says that it took 2 ms; a copy moves 1 GB/s."""

    def seconds(self, run: Run) -> float:
        run()
        return SECONDS["seconds"]

    def copy_bandwidth(self) -> float:
        return 1e9


@pytest.fixture
def _pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "DEVICE", "cpu")
    monkeypatch.setattr(bench_gpu, "Clock", FakeClock)
    monkeypatch.setattr(bench_gpu, "SHAPES", {"conv1": (6, 9, 9)})
    monkeypatch.setattr(bench_gpu, "BATCHES", (2,))
    monkeypatch.setattr(bench_gpu, "DTYPES", (torch.float32,))
    monkeypatch.setattr(bench_gpu, "PICTURES", 2)
    monkeypatch.setattr(bench_gpu, "compiled_anew", lambda function: function)
    monkeypatch.setattr(triton_kernels, "fused_forward", eager.fused_forward)
    monkeypatch.setattr(triton_kernels, "fused_backward", eager.fused_backward)
    properties = SimpleNamespace(name="Pretended", multi_processor_count=132, L2_cache_size=50 * 2**20, uuid="0a-1b")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**36, 2**36))
    monkeypatch.setattr(bench_gpu, "has_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def answer(monkeypatch: pytest.MonkeyPatch, line: str) -> list[list[str]]:
    """Let nvidia-smi answer; returns how it is called."""
    calls: list[list[str]] = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(stdout=line)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.usefixtures("_pretended")
def test_the_file_has_all_rows_and_says_where_they_are_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = answer(monkeypatch, "570.1, 1755 MHz, 1980 MHz, 2619 MHz, 700.00 W\n")
    assert bench_gpu.main([str(tmp_path / "h100.csv")]) == 0
    assert calls[0][-1] == "--id=GPU-0a-1b"
    lines = (tmp_path / "h100.csv").read_text().splitlines()
    about = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("#"))
    assert about["device"] == "Pretended"
    assert about["L2"] == "50 MiB"
    assert (about["clocks.sm"], about["clocks.mem"]) == ("1755 MHz", "2619 MHz")
    assert about["copy"] == "1 GB/s, read and written"
    assert about["torch"] == torch.__version__
    assert about["triton"] == triton.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["operator"] for row in rows] == [*["forward", "backward", "both"] * 2, "augment"]
    # 2x6x9x9 float32 read, of 2x6x4x4 windows a float32 and a byte written.
    first = rows[0]
    assert float(first["megabytes"]) == pytest.approx((972 * 4 + 192 * 5) / 1e6)
    assert float(first["of_copy"]) == pytest.approx(float(first["megabytes"]) / 1e3 / 2e-3)
    assert (float(first["microseconds"]), float(first["eager"])) == (2000.0, 1.0)
    assert rows[1]["eager"] == ""
    printed = capsys.readouterr().out
    assert printed.count("conv1 2x6x9") == 6
    assert "clocks.sm: 1755 MHz" in printed
    assert "targets, by the worst of the rows at batch 128" in printed
    assert re.search(r"augment  NHWC  at least 80% of a copy +met +108% of a copy: 2x3x227, float32", printed)


@pytest.mark.usefixtures("_pretended")
def test_says_so_where_nobody_knows_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> None:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    assert gpu_clock.describe(1e9)["clocks"] == "unknown: nvidia-smi does not say"


@pytest.mark.usefixtures("_pretended")
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "Clock", lambda: pytest.fail("it measures"))
    with pytest.raises(SystemExit) as stopped:
        bench_gpu.main([str(tmp_path / "no" / "folder.csv")])
    assert stopped.value.code == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.usefixtures("_pretended")
def test_goes_on_without_what_the_device_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("of 80 GiB")

    answer(monkeypatch, "")  # is no list of clocks either
    monkeypatch.setattr(triton_kernels, "fused_forward", full)
    monkeypatch.setattr(bench_gpu, "DTYPES", (torch.float32, torch.bfloat16))
    monkeypatch.setattr(bench_gpu, "has_bfloat16", lambda: False)
    assert bench_gpu.main([]) == 0
    printed = capsys.readouterr()
    assert "conv1 2 float32: does not fit into the GPU's memory, left out" in printed.err
    assert "this GPU has no bfloat16: left out" in printed.err
    assert printed.out.count("float32   NHWC") == 1
    assert "clocks: unknown" in printed.out


@pytest.mark.usefixtures("_pretended")
def test_compiles_nothing_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "")
    monkeypatch.setattr(bench_gpu, "compiled_anew", lambda function: pytest.fail("it compiles"))
    assert bench_gpu.main(["--minutes", "0"]) == 0
    assert re.search(r"both .*1\.0x +-\n", capsys.readouterr().out)


@pytest.mark.usefixtures("_pretended")
def test_too_little_memory_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 2**36))
    assert bench_gpu.main([]) == 1
    assert "1024 MiB of the GPU's memory are free, 2048 are needed" in capsys.readouterr().err


def test_the_worst_row_that_counts_decides() -> None:
    rows = [
        Row("forward", "conv1 128x96x55", "float32", "NHWC", 1.0, 1.0, 0.9),
        Row("forward", "conv2 128x256x27", "bfloat16", "NHWC", 1.0, 1.0, 0.86),
        Row("forward", "conv2 128x256x27", "float16", "NHWC", 1.0, 1.0, 0.1),
        Row("forward", "conv2 32x256x27", "bfloat16", "NHWC", 1.0, 1.0, 0.1),
        Row("forward", "conv1 128x96x55", "float32", "NCHW", 1.0, 1.0, 0.84),
        Row("both", "conv1 128x96x55", "float32", "NHWC", 1.0, 1.0, 0.5, eager=7.9),
    ]
    lines = list(verdicts(rows))
    assert any(
        re.match(r"forward  NHWC  at least 85% .* met    86% of a copy: conv2 128x256x27, bfloat16", x) for x in lines
    )
    assert any(re.match(r"forward  NCHW  at least 85% .* MISSED 84% of a copy: conv1", x) for x in lines)
    assert any(re.match(r"both     NHWC  at least 8.0x eager .* MISSED 7.9x eager", x) for x in lines)
    assert any(re.match(r"both     NHWC  at least 1.5x compiled .* not measured", x) for x in lines)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main([]) == 1
    assert "no GPU" in capsys.readouterr().err


def test_flushes_more_than_any_cache_and_takes_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 1.0, 2.0])
    flushes: list[int] = []

    class Event:
        def record(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return next(times)

    monkeypatch.setattr(gpu_clock, "DEVICE", "meta")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**36, 2**36))
    monkeypatch.setattr(gpu_clock, "_event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    clock = gpu_clock.Clock()
    assert clock.read.nbytes >= 2**30
    monkeypatch.setattr(clock.read, "amax", lambda: flushes.append(1))
    runs: list[int] = []
    assert clock.seconds(lambda: runs.append(1), repetitions=3) == pytest.approx(2e-3)
    assert (len(runs), len(flushes)) == (5, 3)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of torch
def test_every_shape_is_compiled_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """More shapes than torch's compiler compiles a function for."""
    seen: list[tuple[int, ...]] = []
    original = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        seen.append(tuple(inputs[0].shape))
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, **options: original(function, backend=backend, **options))
    shapes = [(n, 4, 7, 7) for n in range(2, 14)]
    for shape in shapes:
        bench_gpu.compiled_anew(bench_gpu.plain)(torch.ones(shape), torch.ones(4))
    assert seen == shapes
