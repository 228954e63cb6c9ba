"""`convspec bench`: every variant is there, computes the same network, and is counted right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import convspec
from convspec.cli import main
from convspec.resources import spec_path
from convspec.train import bench as benching
from convspec.train.bench import bench, extra_memory, plain_program, plain_source
from tests.emit.small_specs import TWO_TOWERS
from tests.train.recorded import PretendedGraphs


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    path = tmp_path / "towers.cfg"
    path.write_text(TWO_TOWERS, encoding="utf-8")
    return path


def test_a_table(towers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(towers), "--batch", "2", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"spec {towers}, device ")
    assert "batch 2, precision fp32, rounds 1, kernels " in lines[0]
    tables = [line.split()[0] for line in lines[3:] if line]
    assert tables == ["training", "plain", "convspec", "prediction", "plain", "convspec"]
    assert all(line.split()[3] == "1.00" for line in lines if line.startswith("plain"))


def test_json(towers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(towers), "--batch", "3", "--rounds", "2", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["batch"], result["rounds"], result["precision"]) == (3, 2, "fp32")
    assert result["torch"] == torch.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    for timing in [*result["train"], *result["predict"]]:
        assert timing["images_per_second"] == pytest.approx(3 / timing["seconds"])
        assert timing["utilisation"] > 0


def test_a_file_to_keep(towers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that is known of what was measured, beside the table; and never in the place of the spec."""
    arguments = ["bench", str(towers), "--batch", "2", "--rounds", "1"]
    assert main([*arguments, "-o", str(tmp_path / "results.json")]) == 0
    result = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert capsys.readouterr().out.startswith(f"spec {towers}, device {result['device']}, batch 2, ")
    assert [timing["name"] for timing in result["train"]] == ["plain", "convspec"]
    assert main([*arguments, "-o", str(towers)]) == 2
    assert "is a file that this network is read from" in capsys.readouterr().err
    assert towers.read_text(encoding="utf-8") == TWO_TOWERS


def test_nothing_is_measured_for_a_file_that_cannot_be(
    towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("convspec.cli.benching.bench", lambda *_, **__: pytest.fail("it measures"))
    arguments = ["bench", str(towers), "--batch", "2", "--rounds", "1", "-o"]
    assert main([*arguments, str(tmp_path / "not there" / "results.json")]) == 2
    assert "error[CS101]" in capsys.readouterr().err
    settings = tmp_path / "settings.json"
    settings.write_text("{}", encoding="utf-8")
    assert main([*arguments, str(settings)]) == 2
    assert f"is a file of the run {tmp_path}" in capsys.readouterr().err
    assert settings.read_text(encoding="utf-8") == "{}"


def graphs_of(monkeypatch: pytest.MonkeyPatch, graphs: PretendedGraphs) -> PretendedGraphs:
    monkeypatch.setattr(benching, "recorder_for", lambda *_: graphs)
    return graphs


def test_recorded_steps_are_a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of training alone: recorded, compared, and replayed in each round."""
    graphs = graphs_of(monkeypatch, PretendedGraphs())
    result = bench(convspec.check(TWO_TOWERS), batch=4, device=torch.device("cpu"), rounds=3)
    assert [timing.name for timing in result.train] == ["plain", "convspec", "convspec, CUDA graphs"]
    assert [timing.name for timing in result.predict] == ["plain", "convspec"]
    assert (graphs.recordings, graphs.replays) == (2, 2 * (1 + 3))
    assert result.train[-1].extra_bytes is None
    assert result.notes == ()


def test_a_variant_that_is_not_recorded_says_so(
    towers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs_of(monkeypatch, PretendedGraphs(lambda calls: calls[:-1]))
    assert main(["bench", str(towers), "--batch", "4", "--rounds", "1"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("no CUDA graphs, since a recorded step is not what it is")
    )


def test_a_round_on_a_gpu_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second of steps, at most 200, after those in which things are compiled; on the CPU it is a step."""
    now, waits = 0.0, list[float]()
    monkeypatch.setattr(benching.time, "perf_counter", lambda: now)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waits.append(now))

    def run() -> None:
        nonlocal now
        now += 2.0 if now == 0 else 0.005

    gpu = torch.device("cuda", 0)
    assert benching._warmed_up(run, gpu) == 50
    waits.clear()
    assert benching._seconds(run, gpu, 50) == pytest.approx(0.005)
    assert len(waits) == 2
    assert benching._warmed_up(lambda: None, torch.device("cpu")) == 1


def test_too_little_memory_is_said(
    towers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(benching, "_check_agreement", refuse)
    assert main(["bench", str(towers), "--batch", "2", "--rounds", "1"]) == 1
    captured = capsys.readouterr()
    assert "CS718" in captured.err
    assert "--batch of bench" in captured.err


def test_figures_of_a_gpu_say_what_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from convspec.cli import benching as command

    monkeypatch.setattr(benching, "clocks", lambda: {"clocks.sm": "1980 MHz"})
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91200)
    of_gpu = command._about(convspec.check(TWO_TOWERS), 2, 1, False, "cuda", "H100")
    assert of_gpu.items() >= {"TF32": "convolutions", "cuDNN": 91200, "clocks.sm": "1980 MHz"}.items()
    assert "TF32" not in command._about(convspec.check(TWO_TOWERS), 2, 1, False, "cpu", "x86_64")


def test_a_spec_with_errors_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text(TWO_TOWERS.replace("filterSize=3", "filterSize=99"), encoding="utf-8")
    assert main(["bench", str(path)]) == 1
    assert "CS403" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("coeff=0.7", "coeff=0"), "CS602"),
        (("epsW=0.01\nepsB=0.02", "epsW=0\nepsB=0"), "CS602"),
        (("type=dropout2\ninputs=fc4b", "type=batchnorm\ninputs=fc4b"), "CS715"),
    ],
    ids=["no cost", "frozen", "one case"],
)
def test_what_cannot_be_trained_is_refused_as_train_does(
    change: tuple[str, str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.cfg"
    assert change[0] in TWO_TOWERS
    path.write_text(TWO_TOWERS.replace(*change), encoding="utf-8")
    assert main(["bench", str(path), "--batch", "1", "--rounds", "1"]) == 1
    assert code in capsys.readouterr().err


def test_the_plain_network_is_plain() -> None:
    """A module a tower, torch's own functions, nothing of ours but where torch has none."""
    checked = convspec.check(spec_path("alexnet.cfg"))
    source = plain_source(checked)
    assert "from convspec.train.plain import Noise, dropout, local_response_norm, max_pool2d" in source
    assert "self.conv2a = nn.Conv2d(48, 128" in source
    assert "groups=" not in source
    assert len(plain_program(checked).parameters) == 2 * (2 * 7 + 1)


def test_networks_that_disagree_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from convspec.train import plain

    monkeypatch.setattr(plain, "local_response_norm", lambda x, size, **numbers: x)
    other = TWO_TOWERS.replace("filters=6", "filters=8")  # a module that no other test has loaded
    with pytest.raises(RuntimeError, match="probs of convspec differs by"):
        bench(convspec.check(other), batch=2, device=torch.device("cpu"), rounds=1)


def test_networks_are_compared_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[bool] = []

    class Net(torch.nn.Module):
        def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            allowed.append(torch.backends.cudnn.allow_tf32)
            return inputs

    variant = benching._Variant("any", Net(), Net(), lambda: None, {"x": torch.ones(2)})
    benching._check_agreement([variant])
    assert allowed == [False]
    assert torch.backends.cudnn.allow_tf32


def test_memory_beyond_what_is_held() -> None:
    taken = extra_memory(lambda: torch.ones(100 << 20, dtype=torch.uint8), torch.device("cpu"))
    if taken is None:
        pytest.skip("nobody counts the memory of a process here")
    assert 90 << 20 < taken < 200 << 20


HUGE_PAGES = """
import os, resource, sys
from convspec.cli.memory import use_huge_pages
use_huge_pages()
import torch
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_large_tensors_come_in_huge_pages_unless_the_user_says_otherwise() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("this system has no huge pages to give")
    faults = {}
    for choice in ("1", "0"):
        environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
        if choice == "0":
            environment["THP_MEM_ALLOC_ENABLE"] = choice
        run = subprocess.run(
            [sys.executable, "-c", HUGE_PAGES], env=environment, capture_output=True, text=True, check=True
        )
        faults[choice] = int(run.stdout)
    assert faults["0"] > 16_000
    assert faults["1"] < faults["0"] / 4
