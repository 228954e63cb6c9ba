"""`convspec ablate` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convspec.checker import check
from convspec.cli import main
from convspec.train.signals import StopSignals
from tests.train.racing import RELU

NET = RELU.replace("mirror=0", "mirror=1").replace("epochs=8", "epochs=2")


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "net.cfg"
    path.write_text(NET)
    return str(path)


def test_the_table_and_what_it_leaves(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["ablate", spec, "--only", "crops,lrn", "--seeds", "2", "--epochs", "1", "--set", "conv1.filters=4"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    folder = tmp_path / "runs" / "ablate-net"
    record = json.loads((folder / "ablate.json").read_text())
    lines = printed.out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "as it is",
        "without response normalisation",
        "without crops and mirrors",
    ]
    assert (
        f"{100 * record['rows'][0]['error']['mean']:.1f} ± {100 * record['rows'][0]['error']['deviation']:.1f}"
        in lines[1]
    )
    assert "without response normalisation: no response normalisation in this spec" in lines
    assert printed.err.count("test error") == 4
    assert record["epochs"] == 1
    assert check(folder / "base.cfg").layers[2].shape == (4, 8, 8)
    assert {path.name for path in folder.iterdir()} == {
        "base.cfg",
        "without-crops.cfg",
        *("ablate.json", "ablate.md", "ablate.csv"),
        *(f"{name}-seed{seed}" for name in ("base", "without-crops") for seed in (0, 1)),
    }
    before = (folder / "ablate.json").read_bytes()
    assert main(arguments) == 0
    assert (folder / "ablate.json").read_bytes() == before


def test_a_stop_keeps_what_is_done_and_the_command_goes_on(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def received(signals: StopSignals) -> bool:
        asked.append(1)
        return len(asked) > 100

    arguments = ["ablate", spec, "--only", "crops,conv1", "--seeds", "1", "-o"]
    with monkeypatch.context() as patched:
        patched.setattr(StopSignals, "received", property(received))
        assert main([*arguments, str(tmp_path / "stopped")]) == 130
    assert "the same command goes on there" in capsys.readouterr().err
    rows = json.loads((tmp_path / "stopped" / "ablate.json").read_text())["rows"]
    assert [row["error"]["mean"] is None for row in rows] != [False] * 3
    for folder in ("stopped", "whole"):
        assert main([*arguments, str(tmp_path / folder)]) == 0
    for name in ("ablate.json", "ablate.md", "ablate.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_options_say_stands_in_the_specs_that_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer file of 2012 with its parameters beside it, and sizes that no key says."""
    layers = (
        NET[NET.index("[data]") :]
        .replace("coeff=1\n", "")
        .replace("filterSize=3\n", "filterSize=3\nchannels=1\npartialSum=4\n")
    )
    (tmp_path / "layers-old.cfg").write_text(layers)
    rest = "epsW=0.0002\nepsB=0.0004\nmomW=0.9\nmomB=0.9\nwc=0\n"
    (tmp_path / "layer-params-old.cfg").write_text(f"[conv1]\n{rest}[fc2]\n{rest}[logprob]\ncoeff=1\n")
    out = tmp_path / "out"
    known = ["--input", "data:1x8x8", "--classes", "10", "--dialect", "ccn1", "--data", "digits"]
    arguments = ["ablate", str(tmp_path / "layers-old.cfg"), *known, "--only", "crops", "--epochs", "1", "--seeds", "1"]
    assert main([*arguments, "-o", str(out)]) == 0, capsys.readouterr().err
    written = check(out / "without-crops.cfg")
    assert written.ok
    assert written.graph.dialect.name == "ccn1"
    assert written.layers[2].shape == (8, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--only", "lrm"], 2, "did you mean 'lrn'"),
        (["--only", "views,quite else"], 2, "there is no choice"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--set", "conv1.stride=0"], 1, "CS205"),
        (["--data", "nowhere"], 2, "CS701"),
        (["--set", "fc2.outputs=3"], 1, "CS"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    code: int,
    says: str,
    spec: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["ablate", spec, "-o", str(tmp_path / "out"), *arguments]) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_said_with_the_option_that_names_it(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", spec, "--epochs", "1", "-o", spec]) == 1
    err = capsys.readouterr().err
    assert "CS706" in err
    assert "with -o" in err
