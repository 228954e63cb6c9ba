"""`convspec plan`: what is printed, the stable contract of JSON, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main
from convspec.resources import spec_path

ALEXNET = str(spec_path("alexnet.cfg"))


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ALEXNET, "--devices", "3GB,3GB", "--card", "gtx580"]) == 0
    text = capsys.readouterr().out
    assert f"{ALEXNET}, target spmd, batch 128, fp32" in text
    assert "pool2a    128x13x13     0   1  10.6 MiB  10.6 MiB  conv3b" in text
    assert "at 1.58 TFLOP/s, memory of 192 GB/s, links of 8 GB/s each way" in text
    assert "GPU 1 fits: " in text
    assert "largest batch that fits: " in text


def test_the_papers_network_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """All that is printed of figure 2, from its sizes alone."""
    convolutions = {
        "conv1": (48 * 3 * 11 * 11 + 48, 55 * 55 * 48 * 3 * 11 * 11),
        "conv2": (128 * 48 * 5 * 5 + 128, 27 * 27 * 128 * 48 * 5 * 5),
        "conv3": (192 * 256 * 3 * 3 + 192, 13 * 13 * 192 * 256 * 3 * 3),
        "conv4": (192 * 192 * 3 * 3 + 192, 13 * 13 * 192 * 192 * 3 * 3),
        "conv5": (128 * 192 * 3 * 3 + 128, 13 * 13 * 128 * 192 * 3 * 3),
    }
    full = {"fc6": 2048 * 9216, "fc7": 2048 * 4096}
    tower = sum(numbers for numbers, _ in convolutions.values()) + sum(full.values()) + 2 * 2048
    macs = sum(each for _, each in convolutions.values()) + sum(full.values())
    pictures, fc8 = 128 * 3 * 227 * 227 * 4, 1000 * 4096
    # conv5 and all above it have learnt when the ReLU of conv4a is differentiated
    learnt = convolutions["conv5"][0] + sum(full.values()) + 2 * 2048 + fc8 + 1000
    assert main(["plan", ALEXNET, "--card", "gtx580"]) == 0
    lines = [re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()]
    rows = {name: cells for name, *cells in lines}
    assert rows["weights"] == rows["momentum"] == _mebibytes(4 * (tower + fc8 + 1000), 4 * tower)
    assert rows["pictures and labels"] == _mebibytes(pictures + 128 * 8, pictures)
    assert rows["gradients, at the peak"][:1] == _mebibytes(4 * learnt)
    assert rows["parameters"] == [f"{tower + fc8 + 1000:,}", f"{tower:,}"]
    assert rows["multiply-adds forward"] == [f"{128 * (macs + fc8):,}", f"{128 * macs:,}"]
    maps, pooled, units = 128 * 13 * 13, 128 * 6 * 6, 2048
    for name, numbers, source, reader in (
        ("pool2a", maps, 0, "conv3b"),
        ("pool2b", maps, 1, "conv3a"),
        ("pool5a", pooled, 0, "fc6b"),
        ("pool5b", pooled, 1, "fc6a"),
        ("drop6a", units, 0, "fc7b"),
        ("drop6b", units, 1, "fc7a"),
        ("drop7b", units, 1, "fc8"),
    ):
        assert rows[name][1:] == [str(source), str(1 - source), *_mebibytes(512 * numbers, 512 * numbers), reader]
    [across] = _mebibytes(512 * (2 * maps + 2 * pooled + 3 * units))
    assert [f"values that cross: {across} forward, {across} backward"] in lines
    # three sums of products a weight, two for the first layer; conv1 and fc8 on GPU 0 as the others wait
    operations = 2 * 128 * (3 * (macs + fc8) - convolutions["conv1"][1])
    [step] = [float(line[0].split()[2]) for line in lines if line[0].startswith("ideal step: ")]
    assert operations / 1.581e12 < 1e-3 * step < 1.15 * operations / 1.581e12


def _mebibytes(*counts: float) -> list[str]:
    return [f"{count / 2**20:,.1f} MiB" for count in counts]


def test_what_does_not_fit_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ALEXNET, "--target", "folded", "--devices", "700MiB"]) == 1
    text = capsys.readouterr().out
    assert "GPU 0 does not fit: " in text
    assert "more than 700.0 MiB" in text
    assert main(["plan", ALEXNET, "--devices", "100MB,100MB"]) == 1
    assert "not even a batch of 1 fits" in capsys.readouterr().out


def test_a_card_that_is_named_is_asked_whether_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """On as many as there are GPUs; not the card whose rates count by default, nor where the CPU computes."""
    assert main(["plan", ALEXNET, "--card", "gtx580"]) == 0
    assert "GPU 1 fits: 622.2 MiB of 2,861.0 MiB" in capsys.readouterr().out
    assert main(["plan", str(spec_path("vgg11.cfg")), "--card", "gtx580"]) == 1
    assert "GPU 0 does not fit: " in capsys.readouterr().out
    assert main(["plan", ALEXNET, "--card", "gtx580", "--devices", "100GB,100GB"]) == 0
    assert "of 95,367.4 MiB" in capsys.readouterr().out
    assert main(["plan", ONE_GPU, "--card", "gtx580", "--auto", "2", "--format", "json"]) == 0
    proposed = json.loads(capsys.readouterr().out)
    assert {gpu["device_bytes"] for each in proposed for gpu in each["plan"]["gpus"]} == {3 * 10**9}
    for options in ([], ["--on", "cpu", "--card", "gtx580"]):
        assert main(["plan", str(spec_path("vgg11.cfg")), *options]) == 0
        assert " fit" not in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch", "8", "--precision", "bf16", "--devices", "24GiB,24GiB", "--format", "json"]
    assert main(["plan", ALEXNET, *options]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["target"], data["batch"], data["precision"], data["fits"]) == ("spmd", 8, "bf16", True)
    first = data["gpus"][0]
    assert first["parameters"] * 4 == first["weight_bytes"]
    held = first["weight_bytes"] + first["momentum_bytes"] + first["input_bytes"]
    assert first["total_bytes"] == held + first["peak"]["bytes"] <= first["device_bytes"] == 24 << 30
    peak = first["peak"]
    assert peak["bytes"] == peak["gradient_bytes"] + peak["activation_bytes"] + peak["transient_bytes"]
    crossing = data["crossings"][0]
    assert crossing["readers"] == ["conv3b"]
    assert crossing["forward_bytes"] == crossing["backward_bytes"] == 8 * 2 * 128 * 13 * 13
    assert data["rates"] == {"compute": 989e12, "memory": 3.35e12, "link": 450e9}
    assert data["time"]["seconds"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "80XB"], "'80XB' is no amount: write 80GB or 24GiB, say"),
        (["--devices", "80GB,"], "'' is no amount"),
        (["--devices", "0GB,1GB"], "'0GB' is no amount"),
        (["--devices", "1GB,1GB,1GB"], "--devices gives 3 amounts, and target spmd of this spec uses GPU 0, 1"),
        (["--target", "folded", "--devices", "1GB,1GB"], "uses one GPU: write 80GB"),
        (["--card", "h10"], "there is no card 'h10': did you mean 'h100'?"),
        (["--card", "gtx580", "--precision", "bf16"], "a gtx580 does not compute in bf16"),
        (["--link", "fast"], "'fast' is no amount: write 450GB/s, say"),
    ],
)
def test_options_that_make_no_sense(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ALEXNET, *options]) == 2
    assert message in capsys.readouterr().err


def test_one_amount_asks_whether_all_fits_on_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ALEXNET, "--devices", "80GB"]) == 0
    assert "target folded" in capsys.readouterr().out


def test_a_spec_with_errors_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ALEXNET, "--set", "conv2a.filterSize=99"]) == 1
    assert "CS403" in capsys.readouterr().err


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from convspec.cli import main; main(['plan', sys.argv[1]]); "
        "sys.exit(', '.join({'torch', 'numpy', 'rich', 'triton', 'convspec_kernels'} & sys.modules.keys()) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code, ALEXNET], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


ONE_GPU = str(spec_path("alexnet-1gpu.cfg"))


def test_a_proposal_is_a_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "two.cfg"
    assert main(["plan", ONE_GPU, "--auto", "2", "--card", "gtx580", "-o", str(output)]) == 0
    text = capsys.readouterr().out
    assert "proposed: one weird trick: " in text
    assert "data parallel takes 1.01 times as long" in text
    assert output.read_text().startswith("# AlexNet1GPU on 2 GPUs, one weird trick: proposed by convspec plan --auto 2")
    assert main(["check", str(output)]) == 0
    capsys.readouterr()
    assert main(["plan", str(output), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [gpu["gpu"] for gpu in data["gpus"]] == [0, 1]
    assert "pool5" in {crossing["layers"][-1] for crossing in data["crossings"]}


def test_sizes_from_outside_stand_in_a_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "two.cfg"
    assert main(["plan", ONE_GPU, "--auto", "2", "--input", "data:3x99x99", "-o", str(output)]) == 0
    assert "input=data:3x99x99" in output.read_text()
    assert main(["check", str(output)]) == 0


def test_proposals_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", ONE_GPU, "--auto", "2", "--towers", "conv3", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {each["scheme"] for each in data if each["proposed"]} == {"towers"}
    assert len(data) == 5
    assert all(each["plan"]["time"]["seconds"] > 0 for each in data)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (ALEXNET, ["--auto", "2"], "names its GPUs already"),
        (ONE_GPU, ["--auto", "1"], "1 is not in the range 2<=x<=64"),
        (ONE_GPU, ["--auto", "2", "--towers", "conv33"], "which is no conv layer: did you mean 'conv3'?"),
        (ONE_GPU, ["--auto", "2", "--target", "spmd"], "leave --target out"),
        (ONE_GPU, ["--auto", "2", "--devices", "1GB"], "--devices gives 1 amount for --auto 2"),
        (ONE_GPU, ["-o", "new.cfg"], "say --auto N as well"),
        (ONE_GPU, ["--auto", "2", "-o", ONE_GPU], "is a file that this network is read from"),
    ],
)
def test_proposals_that_make_no_sense(
    spec: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", spec, *options]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("options", [[], ["--target", "spmd", "--devices", "1GB"], ["--auto", "2"]])
def test_a_network_that_computes_nothing(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nothing.cfg"
    path.write_text(
        "[@net]\ninput=data:6\noutputs=cat\n[data]\ntype=data\ndataIdx=0\n[cat]\ntype=concat\ninputs=data\n"
    )
    assert main(["plan", str(path), *options]) == 0
    assert "nothing" in capsys.readouterr().out
