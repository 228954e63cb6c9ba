"""`convspec check`: what it prints, its exit codes, its JSON, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main
from convspec.resources import spec_path
from tests.emit import small_specs

ALEXNET = str(spec_path("alexnet.cfg"))


def test_alexnet_has_the_sizes_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET]) == 0
    out = capsys.readouterr().out
    sizes = {line.split()[0]: line for line in out.splitlines() if line}
    assert "(227 - 11) / 4 + 1 = 55" in sizes["conv1a"]
    for layer, size in (("pool1b", "48x27x27"), ("conv3b", "192x13x13"), ("pool5a", "128x6x6"), ("fc6a", "2048")):
        assert size in sizes[layer]
    assert "60,965,224 parameters" in sizes["network"]
    assert "290,400-186,624-64,896-64,896-43,264-4,096-4,096-1,000" in sizes["neurons"]
    assert "253,440" in sizes["note"]
    assert sizes["GPU"]


def test_rounding_that_differs_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET, "--input", "data:3x224x224"]) == 0
    out = capsys.readouterr().out
    assert "CS409" in out
    assert "(224 - 11) / 4 + 1 = 54.25" in out
    assert "54" in out.split("= help:")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("name", "help"), [("dta", "did you mean 'data'?"), ("conv1a", "data layers are data, labels")]
)
def test_a_size_that_no_data_layer_takes_is_an_error(name: str, help: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET, "--input", f"{name}:3x224x224"]) == 1
    out = capsys.readouterr().out
    assert f"a size is given for {name}" in out
    assert help in out


def test_deep_networks_have_the_ends_of_their_neurons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep.cfg"
    chain = small_specs.layer("x", type="conv", inputs="data", filters=2, filterSize=1, repeat=40)
    path.write_text(small_specs.classifier(chain, leaves="x", image="3x9x9"))
    assert main(["check", str(path)]) == 0
    assert "neurons  162-162-162-...-162-162-4, in the layers that learn\n" in capsys.readouterr().out


def test_a_network_that_learns_nothing_has_no_line_of_neurons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pool.cfg"
    pool = small_specs.layer("x", type="globalpool", inputs="data")
    path.write_text(f"[@net]\ninput=data:3x9x9\noutputs=x\n[data]\ntype=data\ndataIdx=0\n{pool}")
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "network  0 parameters" in out
    assert "neurons" not in out


def test_shared_weights_are_counted_once_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = small_specs.layer("a", type="conv", inputs="data", filters=4, filterSize=3) + small_specs.layer(
        "b", type="conv", inputs="data", filters=4, filterSize=3, weightSource="a"
    )
    path = tmp_path / "net.cfg"
    path.write_text(small_specs.classifier(layers, leaves="a,b"))
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "shared   weights b[0] = a[0], counted once" in out.splitlines()
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert " 112 " in rows["a"]
    assert " 4 " in rows["b"]


def test_json_is_the_documented_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["ok", "spec", "params", "dialect", "diagnostics", "layers", "totals"]
    assert (data["ok"], data["spec"], data["params"], data["diagnostics"]) == (True, ALEXNET, None, [])
    conv2a = next(layer for layer in data["layers"] if layer["name"] == "conv2a")
    assert conv2a == {
        "name": "conv2a",
        "type": "conv",
        "inputs": ["pool1a"],
        "shape": [128, 27, 27],
        "outputs": 93312,
        "gpus": [0],
        "weights": 153600,
        "biases": 128,
        "macs": 111974400,
        "line": conv2a["line"],
        "file": ALEXNET,
        "shares": [],
    }
    assert Path(ALEXNET).read_text().splitlines()[conv2a["line"] - 1] == "[conv2a]"
    totals = data["totals"]
    assert totals["parameters"] == 60_965_224
    assert totals["batch"] == 128
    assert totals["parameter_bytes"] == totals["optimizer_bytes"] == 4 * 60_965_224
    assert [gpu["gpu"] for gpu in totals["gpus"]] == [0, 1]
    assert sum(gpu["parameters"] for gpu in totals["gpus"]) == totals["parameters"]


def test_json_of_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "bad.cfg"
    spec.write_text(Path(ALEXNET).read_text().replace("inputs=conv5a", "inputs=conv5x"))
    assert main(["check", str(spec), "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False
    first = data["diagnostics"][0]
    assert set(first) == {
        "code",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "labels",
        "notes",
        "help",
    }
    assert (first["code"], first["severity"], first["file"]) == ("CS301", "error", str(spec))
    assert spec.read_text().splitlines()[first["line"] - 1] == "inputs=conv5x"
    assert (first["column"], first["end_column"]) == (8, 14)
    assert next(layer for layer in data["layers"] if layer["name"] == "fc6a")["shape"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["check", "nowhere.cfg"], 2, "there is no file nowhere.cfg"),
        (["check", "alexnet"], 2, "did you mean 'alexnet.cfg'?"),
        (["check", "specs/alxnet.cfg"], 2, "did you mean 'specs/alexnet.cfg'?"),
        (["check", "nowhere/alexnet.cfg"], 2, "there is no .cfg file in nowhere"),
        (["check", "."], 2, "is a folder"),
        (["check"], 2, "Missing argument"),
        (["chek", "x"], 2, "did you mean 'check'?"),
        (["check", ALEXNET, "--set", "conv9.filters=3"], 2, "names no section"),
        (["check", ALEXNET, "--set", "filters"], 2, "is not section.key=value"),
        (["check", ALEXNET, "--set", "conv1a.filters=many"], 1, "takes a list of integers"),
        (["compile", ALEXNET, "--set", "conv9.filters=3"], 2, "names no section"),
        (["compile", ALEXNET, "--set", "conv1a.filters=many"], 1, "takes a list of integers"),
        (["check", ALEXNET, "--input", "data"], 2, "is no size"),
        (["check", ALEXNET, "--format", "yaml"], 2, "yaml"),
        (["explain", "CS999"], 2, "CS999"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert says in captured.out + captured.err


def test_a_file_that_the_spec_names_is_a_mistake_of_the_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "my.cfg"
    spec.write_text("[@net]\nextends=nowhere.cfg\n")
    for command in ("check", "compile", "show", "plan"):
        assert main([command, str(spec)]) == 1
        captured = capsys.readouterr()
        assert "error[CS101]" in captured.out + captured.err


def test_what_may_be_meant_is_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("my.cfg", *(f"net{number}.cfg" for number in range(7))):
        (tmp_path / name).touch()
    for asked, says in (
        ("my", "did you mean '{}/my.cfg'?"),
        ("unlike", "{} has my.cfg, net0.cfg, net1.cfg, net2.cfg, net3.cfg, ..."),
    ):
        assert main(["check", str(tmp_path / asked)]) == 2
        assert says.format(tmp_path) in capsys.readouterr().err


def test_strict_counts_warnings(tmp_path: Path) -> None:
    spec = tmp_path / "warns.cfg"
    spec.write_text(Path(ALEXNET).read_text().replace("[conv1a]\n", "[conv1a]\ncolour=red\n"))
    assert main(["check", str(spec)]) == 0
    assert main(["check", str(spec), "--strict"]) == 1


def test_an_override_changes_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ALEXNET, "--set", "fc8.outputs=10", "--set", "@net.classes=10", "--format", "json"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["probs"]["shape"] == [10]


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys\n"
        "from convspec.cli import main\n"
        f"assert main(['check', {ALEXNET!r}]) == 0\n"
        "heavy = {'torch', 'triton', 'numpy', 'rich', 'PIL', 'hypothesis', 'convspec_kernels'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_nothing_is_imported_that_a_check_does_not_need() -> None:
    """What other commands and options need: each of these would cost the start of every check its milliseconds."""
    script = (
        "import sys\n"
        "from convspec.cli import main\n"
        f"assert main(['check', {ALEXNET!r}]) == 0\n"
        "unneeded = {'convspec.program.operators', 'convspec.program.builder', 'convspec.passes', 'convspec.emit',"
        " 'convspec.difference', 'convspec.report', 'convspec.train', 'convspec.data', 'convspec.diagnostics.sarif',"
        " 'convspec.diagnostics.github', 'convspec.cli.completing', 'convspec.cli.watching', 'convspec.cli.fits',"
        " 'convspec.graph.fitting', 'click.shell_completion', 'difflib', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not unneeded, unneeded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_the_collector_rests_while_modules_are_imported_and_works_afterwards() -> None:
    script = (
        "import gc, sys\n"
        "from convspec.__main__ import main\n"
        f"sys.argv = ['convspec', 'check', {ALEXNET!r}]\n"
        "collections = []\n"
        "gc.callbacks.append(lambda phase, info: collections.append(phase))\n"
        "assert main() == 0\n"
        "assert gc.isenabled()\n"
        "assert len(collections) < 20, len(collections)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_reader_who_leaves_early_is_no_error() -> None:
    script = f"{sys.executable} -m convspec check {ALEXNET} | head -n 1"
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_colour_is_for_terminals_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    main(["check", ALEXNET])
    assert "\x1b[" not in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["check", ALEXNET])
    assert "\x1b[1mlayer " in capsys.readouterr().out


def test_specs_that_come_along_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "specs/alexnet.cfg"]) == 0
    assert main(["check", "alexnet-small.cfg"]) == 0
