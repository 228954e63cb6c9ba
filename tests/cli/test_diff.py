"""`convspec diff`: the four known differences of the two AlexNets, exit codes, JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main
from convspec.resources import spec_path

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "files"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, with lines joined again."""
    return re.sub(r"\n {6}", " ", capsys.readouterr().out)


def test_the_four_known_differences_of_2012(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "alexnet.cfg", "alexnet-2012.cfg"]) == 1
    rows = {line.strip() for line in printed(capsys).splitlines()}
    assert (
        "~ conv1a, conv1b: the ReLU comes behind response normalisation across maps (rnorm1a, rnorm1b) and max pooling "
        "(pool1a, pool1b) instead of before (before or behind max pooling, the outputs are the same)"
    ) in rows
    assert (
        "+ cnorm2a, cnorm2b: response normalisation over neighbouring pixels of the same map (rnorm, size=5), "
        "behind rnorm2a, rnorm2b, before pool2a, pool2b"
    ) in rows
    assert (
        "~ conv3a, conv3b, conv4a, conv4b, conv5a, conv5b: initW 0.01 -> 0.03: "
        "standard deviation of the initial weights, 0.01 in the paper"
    ) in rows
    assert (
        "~ all 4 layers with scale: scale 0.0005 -> 0.0001: alpha of the paper, scale / window: 0.0001 became 0.00002"
    ) in rows
    # And those that follow from the size of the images, the schedules, and the other name of dropout.
    assert "~ data: 3x227x227 -> 3x224x224" in rows
    assert "~ drop6a, drop6b, drop7a, drop7b: type dropout2 -> hs: two names of the same" in rows


def test_equal_specs_exit_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.cfg"
    copy.write_text(f"# mine\n{spec_path('alexnet.cfg').read_text()}")
    assert main(["diff", "alexnet.cfg", str(copy)]) == 0
    assert printed(capsys) == (
        f"from alexnet.cfg\nto   {copy}\n\nboth: 33 layers, 60,965,224 parameters, 724,406,816 multiply-adds an image\n"
    )


def test_an_override_of_b(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "lenet-digits.cfg", "lenet-digits.cfg", "--set", "conv2.filters=20"]) == 1
    out = printed(capsys)
    assert "~ conv2: filters 16 -> 20" in out
    assert "~ conv2: 16x10x10 -> 20x10x10" in out
    assert "from: 11 layers, 61,706 parameters" in out


def test_a_variant_that_extends_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variant = tmp_path / "variant.cfg"
    variant.write_text("[@net]\nextends=lenet-digits.cfg\n[conv2]\nfilters=20\n")
    assert main(["diff", "lenet-digits.cfg", str(variant)]) == 1
    out = printed(capsys)
    assert [line for line in out.splitlines() if line.startswith("  ")] == [
        "  ~ conv2: 16x10x10 -> 20x10x10",
        "  ~ pool2: 16x5x5 -> 20x5x5",
        "  ~ conv2: filters 16 -> 20: kernels of one group",
    ]


def test_dialects_that_learn_by_other_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.cfg"
    file.write_text(
        "[@net]\ninput=data:3x8x8\noutputs=fc\ndialect=ccn2\n[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\n"
        "outputs=3\ninitW=0.1\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\nwc=0\nwball=0\ngpu=0\n"
    )
    assert main(["diff", str(file), str(file), "--set", "@net.dialect=convspec"]) == 1
    assert "~ @net.dialect cuda-convnet2 -> convspec: whose rules of learning" in printed(capsys)


def test_json_is_the_documented_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "alexnet.cfg", "alexnet-2012.cfg", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["a", "b", "equal", "differences"]
    assert data["a"] == {"spec": "alexnet.cfg", "layers": 33, "parameters": 60_965_224, "macs": 724_406_816}
    assert data["equal"] is False
    for difference in data["differences"]:
        assert list(difference) == ["category", "change", "layers", "key", "before", "after", "text"]
    (scale,) = (d for d in data["differences"] if d["key"] == "scale")
    assert scale["layers"] == [{"a": n, "b": n} for n in ("rnorm1a", "rnorm1b", "rnorm2a", "rnorm2b")]
    assert (scale["before"], scale["after"], scale["category"]) == ("0.0005", "0.0001", "hyper-parameters")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["alexnet.cfg", "nowhere.cfg"], "there is no file nowhere.cfg"),
        (["alexnet.cfg"], "Missing argument"),
        (["alexnet.cfg", "alexnet.cfg", "--set", "conv1a.stride=0"], "CS205"),
        (["alexnet.cfg", "alexnet.cfg", "--set", "conv9.stride=1"], "CS213"),
        (["alexnet.cfg", "alexnet.cfg", "--input", "data"], "CS213"),
    ],
)
def test_trouble_exits_with_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys\n"
        "from convspec.cli import main\n"
        "main(['diff', 'alexnet.cfg', 'alexnet-2012.cfg'])\n"
        "heavy = {'torch', 'triton', 'numpy', 'rich', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")
def test_released_files_differ_as_their_authors_meant(capsys: pytest.CaptureFixture[str]) -> None:
    folders = [CORPUS / f"computerhistory__layers_layers-166__p-{number}" for number in (160, 163)]
    (a, params_a), (b, params_b) = ((str(f / "layers.cfg"), str(f / "params.cfg")) for f in folders)
    sizes = ["--input", "data:3x224x224", "--classes", "1000"]
    assert main(["diff", a, b, "--params-a", params_a, "--params-b", params_b, *sizes]) == 1
    out = printed(capsys)
    assert "~ fc2048a, fc2048b, fc2048ba, fc2048bb, fc1000: wc 0.0005 -> 0.001" in out
    assert [line for line in out.splitlines() if line and line[0] != " "][2:] == [
        "hyper-parameters",
        "both: 35 layers, 60,965,224 parameters, 724,406,816 multiply-adds an image",
    ]


def test_colour_is_for_terminals_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["diff", "alexnet.cfg", "alexnet-2012.cfg"])
    assert "\x1b[32m+\x1b[0m cnorm2a" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main(["diff", "alexnet.cfg", "alexnet-2012.cfg"])
    assert "\x1b[" not in capsys.readouterr().out
