"""`convspec compile`: standard output, files, and the stages of the compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

import convspec
from convspec.cli import main
from convspec.resources import spec_path

ALEXNET = str(spec_path("alexnet.cfg"))


def test_standard_output_is_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET]) == 0
    assert capsys.readouterr().out == convspec.compile(ALEXNET)


def test_a_file_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "alexnet.py"
    assert main(["compile", ALEXNET, "-o", str(target)]) == 0
    assert target.read_text() == convspec.compile(ALEXNET)
    assert [path.name for path in tmp_path.iterdir()] == ["alexnet.py"]
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "-o", str(tmp_path / "nowhere" / "alexnet.py")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_stages_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--print-after", "lower", "--print-after", "merge_towers"]) == 0
    err = capsys.readouterr().err
    lowered, merged = err.split("# after merge_towers")
    assert "conv2a/0: 128x27x27 = Conv2d" in lowered
    assert "conv2/0: 256x27x27 = Conv2d(pool1, " in merged
    assert "groups=2" in merged


def test_an_unknown_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--print-after", "merge_tower"]) == 2
    assert "did you mean 'merge_towers'?" in capsys.readouterr().err


def test_a_module_for_several_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to ask for it give the same: which part is whose, and where they talk."""
    assert main(["compile", ALEXNET, "--target", "devices"]) == 0
    out = capsys.readouterr().out
    assert "pool2b_on_0 = pool2b.to(gpu0, non_blocking=True)  # 128x13x13, GPU 1 to GPU 0" in out
    assert "        # GPU 1\n        self.conv1b = nn.Conv2d(3, 48, kernel_size=11, stride=4)\n" in out
    assert main(["compile", ALEXNET, "--devices", "2"]) == 0
    assert capsys.readouterr().out == out


def test_one_device_takes_all_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--devices", "1"]) == 0
    assert capsys.readouterr().out == convspec.compile(ALEXNET)


def test_devices_that_are_not_those_of_the_spec(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--devices", "3"]) == 1
    err = capsys.readouterr().err
    assert "error[CS750]: AlexNet is for 2 GPUs, and 3 devices would run it" in err
    assert "name as many: --devices cuda:0,cuda:1; or one: --device cuda:0 runs all layers on it" in err
    assert main(["compile", ALEXNET, "--devices", "2", "--target", "folded"]) == 2
    assert "--target folded runs on one device, and 2 are named" in capsys.readouterr().err


def test_a_stage_of_another_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--target", "devices", "--print-after", "merge_towers"]) == 2
    assert "there is no pass 'merge_towers' for target devices" in capsys.readouterr().err
    assert main(["compile", ALEXNET, "--target", "devices", "--print-after", "insert_transfers"]) == 0
    assert "pool2b on 0: 128x13x13 = Transfer(pool2b, source=1) gpu 0  # pool2b" in capsys.readouterr().err


def test_outputs_join_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--outputs", "fc7a, conv1a"]) == 0
    out = capsys.readouterr().out
    assert '"fc7a": fc7a' in out
    assert "fc7a = fc7[:, 0:2048]" in out


def test_an_output_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", ALEXNET, "--outputs", "fc77"]) == 2
    assert "CS601" in capsys.readouterr().err


def test_what_check_refuses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "bad.cfg"
    spec.write_text(Path(ALEXNET).read_text().replace("filterSize=11", "filterSize=eleven"))
    assert main(["compile", str(spec)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "filterSize of conv1a takes" in captured.err


def test_a_part_without_public_source_is_checked_and_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET, "--set", "pool2a.quantF=half[]"]) == 0
    assert main(["compile", ALEXNET, "--set", "pool2a.quantF=half[]"]) == 1
    assert "CS604" in capsys.readouterr().err
