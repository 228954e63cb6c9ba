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
from convspec.train.bench import bench, extra_memory, plain_program, plain_source
from tests.emit.small_specs import TWO_TOWERS


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
    from convspec.train import bench as benching

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
