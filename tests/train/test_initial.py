"""First values from elsewhere: copied from a run, written, or called; and everything that can go wrong with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import convspec
from convspec.cli import main
from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.emit.load import instantiate
from convspec.train.checkpoint import Checkpoint, load_newest, save_checkpoint
from convspec.train.display import SilentDisplay
from convspec.train.imported import import_checkpoint
from convspec.train.initial import set_initial_values
from convspec.train.trainer import train
from tests.train.old_nets import Net

SPEC = """[@net]
input=data:1x8x8, labels:1
classes=10
[@params]
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
initW=0.1
[@train]
epochs=1
{train}
[@data]
provider=digits
size=8
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1a]
type=conv
inputs=data
filters=4
filterSize=3
gpu=0
{conv1a}
[conv1b]
type=conv
inputs=data
filters=4
filterSize=3
gpu=1
{conv1b}
[fc2]
type=fc
inputs=conv1a,conv1b
outputs=6
gpu=0
{fc2}
[fc3]
type=fc
inputs=fc2
outputs=10
{fc3}
[probs]
type=softmax
inputs=fc3
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""
SECTIONS = ("train", "conv1a", "conv1b", "fc2", "fc3")


def compiled(folder: Path, *, allow_init_imports: bool = False, **keys: str) -> Compiled:
    spec = folder / "spec.cfg"
    spec.write_text(SPEC.format(**{name: keys.get(name, "") for name in SECTIONS}))
    return compile_spec(spec, allow_init_imports=allow_init_imports)


def started(one: Compiled, notify: list[Diagnostic] | None = None) -> dict[str, Tensor]:
    """The weights that a run would begin with, by canonical name."""
    torch.manual_seed(1)
    net = instantiate(one.source, one.name)
    told = [] if notify is None else notify
    set_initial_values(net, one.initial_values, one.train.init_from, told.append)
    state: dict[str, Tensor] = net.state_dict()
    return state


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A run of the same network, with weights of its own; and these."""
    torch.manual_seed(2)
    one = compiled(tmp_path)
    weights = {
        name: torch.randn_like(tensor) / 10 for name, tensor in instantiate(one.source, one.name).state_dict().items()
    }
    save_checkpoint(tmp_path / "old" / "checkpoints", Checkpoint(weights, {}, {"epoch": 1, "step": 1}), keep=1)
    return tmp_path / "old", weights


def assert_only_these_differ(start: dict[str, Tensor], plain: dict[str, Tensor], names: set[str]) -> None:
    assert {name for name, tensor in start.items() if not torch.equal(tensor, plain[name])} == names


def test_copies_the_layer_of_the_same_name(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    """As cuda-convnet2 writes it; each tower of a merged convolution gets its own, each matrix of fc2 too."""
    path, weights = run
    keys = f"initWFunc=initw.makew({path})\ninitBFunc=initw.makeb({path})"
    start = started(compiled(tmp_path, conv1b=keys, fc2=keys))
    names = {"conv1b.weight", "conv1b.bias", "fc2.weights.0", "fc2.weights.1", "fc2.bias"}
    for name in names:
        assert torch.equal(start[name], weights[name])
    assert_only_these_differ(start, started(compiled(tmp_path)), names)


def test_copies_a_layer_of_the_run_in_init_from(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    """As the 2012 code writes it: crosswise."""
    path, weights = run
    keys = {"conv1a": "initWFunc=initw.makew(conv1b)", "conv1b": "initWFunc=initw.makew(conv1a)"}
    start = started(compiled(tmp_path, train=f"initFrom={path}", **keys))
    assert torch.equal(start["conv1a.weight"], weights["conv1b.weight"])
    assert torch.equal(start["conv1b.weight"], weights["conv1a.weight"])


def test_init_from_goes_over_a_path_that_is_no_more(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, weights = run
    keys = {"conv1a": "initWFunc=initw.makew(/nobackup/kriz/tmp/ConvNet__2012-09-19_23.29.04)"}
    start = started(compiled(tmp_path, train=f"initFrom={path}", **keys))
    assert torch.equal(start["conv1a.weight"], weights["conv1a.weight"])


def test_joins_layers_along_their_outputs(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, weights = run
    text = (tmp_path / "spec.cfg").read_text()
    one = text.replace("filters=4\nfilterSize=3\ngpu=0\n", "filters=8\nfilterSize=3\ngpu=0\n{}\n")
    calls = f"initWFunc=initw.makewcat({path},conv1b,conv1a)\ninitBFunc=initw.makebcat({path},conv1a, conv1b)"
    (tmp_path / "wide.cfg").write_text(one.replace("{}", calls))
    start = started(compile_spec(tmp_path / "wide.cfg"))
    assert torch.equal(start["conv1a.weight"], torch.cat([weights["conv1b.weight"], weights["conv1a.weight"]]))
    assert torch.equal(start["conv1a.bias"], torch.cat([weights["conv1a.bias"], weights["conv1b.bias"]]))


def test_takes_biases_as_they_are_written(tmp_path: Path) -> None:
    start = started(compiled(tmp_path, conv1b="initBFunc=initw.makeb_vec(1, -2.5, 3e1, .5)"))
    assert start["conv1b.bias"].tolist() == [1, -2.5, 30, 0.5]


def test_the_matrix_that_makew_of_2012_draws_is_drawn(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, _ = run
    text = (tmp_path / "spec.cfg").read_text()
    text = text.replace("[fc2]", "[localcombine]").replace("inputs=fc2", "inputs=localcombine")
    text = text.replace("inputs=conv1a,conv1b", f"inputs=conv1a,conv1b,data\ninitWFunc=initw.makew({path})")
    (tmp_path / "local.cfg").write_text(text)
    names = [value.name for value in compile_spec(tmp_path / "local.cfg").initial_values]
    assert names == ["localcombine.weights.0", "localcombine.weights.1"]


def refused(one: Compiled) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        started(one)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.span is not None
    assert diagnostic.span.text.startswith(("initw.", "mine."))
    return diagnostic


@pytest.mark.parametrize(
    ("section", "key", "message", "help"),
    [
        ("conv1a", "initWFunc=initw.makew(nowhere)", "nowhere is not there", "convspec import"),
        ("conv1a", "initWFunc=initw.makew({folder})", "{folder} has no checkpoint", "--init-from"),
        ("conv1a", "initWFunc=initw.makew({folder}/spec.cfg)", "spec.cfg is not a run", "convspec import"),
        (
            "conv1a",
            "initWFunc=initw.makewcat({run},conv1c)",
            "has no layer conv1c with weights",
            "did you mean 'conv1",
        ),
        ("fc3", "initWFunc=initw.makewcat({run},fc3,fc3)", "gives 20x6 for fc3.weight, which is 10x6", "equal sizes"),
        ("fc3", "initBFunc=initw.makeb_vec(1,2,3)", "gives 3 for fc3.bias, which is 10", "equal sizes"),
    ],
)
def test_what_cannot_be_copied(
    run: tuple[Path, dict[str, Tensor]], tmp_path: Path, section: str, key: str, message: str, help: str
) -> None:
    path, _ = run
    diagnostic = refused(compiled(tmp_path, **{section: key.format(run=path, folder=tmp_path)}))
    assert diagnostic.code == "CS716"
    assert message.format(run=path, folder=tmp_path) in diagnostic.message
    assert help in (diagnostic.help or "")


def test_a_matrix_that_the_run_does_not_have(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, weights = run
    fewer = {name: tensor for name, tensor in weights.items() if name != "fc2.weights.1"}
    save_checkpoint(path / "checkpoints", Checkpoint(fewer, {}, {"epoch": 2, "step": 2}), keep=1)
    diagnostic = refused(compiled(tmp_path, fc2=f"initWFunc=initw.makew({path})"))
    assert diagnostic.message.endswith(f"and fc2 of {path} has no weights for input 1")


def test_a_broken_checkpoint_is_named(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, _ = run
    [state] = path.glob("checkpoints/*/state.json")
    state.write_text("{}")
    with pytest.raises(DiagnosticError, match="CS708"):
        started(compiled(tmp_path, conv1a=f"initWFunc=initw.makew({path})"))
    assert "cannot be used" in refused(compiled(tmp_path, conv1a=f"initWFunc=initw.makew({state.parent})")).message


SPARSE = """[@net]
input=data:4x8x8
outputs=conv1,conv2
[@params]
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
initW=0.1
[data]
type=data
dataIdx=0
[conv1]
type=conv
inputs=data
filters=4
filterSize=3
groups=2
randSparse=1
filterChannels=4
{conv1}
[conv2]
type=conv
inputs=data,conv1
filters=4
filterSize=3
groups=2
padding=0,1
randSparse=0,1
{conv2}
"""


def sparse(folder: Path, conv1: str = "", conv2: str = "") -> Compiled:
    spec = folder / "sparse.cfg"
    spec.write_text(SPARSE.format(conv1=conv1, conv2=conv2))
    return compile_spec(spec, allow_init_imports=True)


def test_copies_the_channels_of_sparse_groups(tmp_path: Path) -> None:
    torch.manual_seed(3)
    plain = sparse(tmp_path)
    weights = instantiate(plain.source, plain.name).state_dict()
    save_checkpoint(tmp_path / "old" / "checkpoints", Checkpoint(weights, {}, {"epoch": 1, "step": 1}), keep=1)
    call = f"initCFunc=initw.makec({tmp_path / 'old'})"
    start = started(sparse(tmp_path, call, call))
    for name in ("conv1.connections", "conv2.connections.1"):
        assert torch.equal(start[name], weights[name])
    assert not torch.equal(start["conv1.weight"], weights["conv1.weight"])
    assert not torch.equal(started(plain)["conv1.connections"], weights["conv1.connections"])


def test_a_function_gives_the_channels_of_sparse_groups(mine: Path) -> None:
    start = started(sparse(mine, "initCFunc=mine.connections(a)", "initCFunc=mine.connections(b)"))
    assert start["conv1.connections"].tolist() == [3, 2, 1, 0] * 2
    assert start["conv2.connections.1"].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert sys.modules["mine"].CALLS == [("conv1", 0, (2, 4, 4), ["a"]), ("conv2", 1, (2, 8, 4), ["b"])]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("mine.number", "has no function number"),
        ("mine.same", "indices that are not the 4 channels, each once before any comes again,"),
        ("mine.few", "gives 3, not 8 indices,"),
        ("mine.words", "indices that are not the 4 channels"),
        ("mine.biases", "failed: TypeError"),
        ("mine.nothing", "gives NoneType, not 8 indices,"),
    ],
)
def test_channels_that_cannot_be(mine: Path, call: str, message: str) -> None:
    diagnostic = refused(sparse(mine, f"initCFunc={call}"))
    assert diagnostic.code == "CS717"
    assert message in diagnostic.message


MINE = """
import numpy as np

CALLS = []

def weights(layer, index, shape, params):
    CALLS.append((layer, index, shape, params))
    return np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape, order=params[0])

def biases(layer, shape, params):
    CALLS.append((layer, shape, params))
    return np.full(shape, float(params[0]), dtype=np.float32)

def wide(layer, index, shape, params):
    return np.zeros(shape)

def turned(layer, index, shape, params):
    return np.zeros(shape[::-1], dtype=np.float32)

def listed(layer, index, shape, params):
    return [[0.0]]

def infinite(layer, index, shape, params):
    return np.full(shape, np.inf, dtype=np.float32)

def raising(layer, index, shape, params):
    return {}[layer]

def connections(layer, index, sizes, params):
    CALLS.append((layer, index, sizes, params))
    groups, channels, seen = sizes
    return list(range(channels))[::-1] * (groups * seen // channels)

def same(layer, index, sizes, params):
    return np.zeros(sizes[0] * sizes[2], dtype=int)

def few(layer, index, sizes, params):
    return [0, 1, 2]

def words(layer, index, sizes, params):
    return ["0"] * (sizes[0] * sizes[2])

def nothing(layer, index, sizes, params):
    return None

def leaving(layer, index, shape, params):
    raise SystemExit(3)

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module beside the spec, forgotten afterwards."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_function_is_called_as_the_originals_called_it(mine: Path) -> None:
    """Columns are outputs: rows of a convolution are (channel, y, x), rows of fc are features."""
    keys = {
        "conv1b": "initWFunc=mine.weights(F)\ninitBFunc=mine.biases(7)",
        "fc2": "initWFunc=mine.weights( C , x y )\ninitBFunc=mine.biases(8)",
    }
    start = started(compiled(mine, allow_init_imports=True, **keys))
    assert sys.modules["mine"].CALLS == [
        ("conv1b", 0, (9, 4), ["F"]),
        ("conv1b", (4, 1), ["7"]),
        ("fc2", 0, (144, 6), ["C", "x y"]),
        ("fc2", 1, (144, 6), ["C", "x y"]),
        ("fc2", (1, 6), ["8"]),
    ]
    np.testing.assert_array_equal(start["conv1b.weight"], np.arange(36).reshape(4, 1, 3, 3))
    np.testing.assert_array_equal(start["fc2.weights.1"], np.arange(144 * 6).reshape(144, 6).T)
    assert set(start["conv1b.bias"].tolist()) == {7}
    assert set(start["fc2.bias"].tolist()) == {8}
    assert str(mine) not in sys.path


def test_inner_nodes_of_a_tree_are_zero_whatever_a_function_gives(mine: Path) -> None:
    """Columns behind those of the classes (2012 layer.py:903-905)."""
    spec = mine / "tree.cfg"
    tree = '{"children": [[], [], [], [0, 1], [2, 3]], "root": 4}'
    spec.write_text(
        "[@net]\ninput=data:4\noutputs=fc1\n[data]\ntype=data\ndataIdx=0\n"
        f"[fc1]\ntype=treefc\ninputs=data\ntree={tree}\ninitW=0.1\nepsW=0.01\nepsB=0.01\nmomW=0\nmomB=0\n"
        "initWFunc=mine.weights(C)\n"
    )
    weight = started(compile_spec(spec, allow_init_imports=True))["fc1.weight"]
    expected = np.arange(20).reshape(4, 5).T.copy()
    expected[3:] = 0
    np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("call", "message", "note"),
    [
        ("mine.wide", "mine.wide gives float64 of 6x10, not a float32 array of 6x10, for fc3.weight", ""),
        ("mine.turned", "mine.turned gives float32 of 10x6, not", ""),
        ("mine.listed", "mine.listed gives list, not", ""),
        ("mine.infinite", "numbers that are not finite", ""),
        ("mine.raising", "mine.raising failed: KeyError: 'fc3'", "mine.py, line "),
        ("mine.leaving", "mine.leaving failed: SystemExit: 3", "mine.py, line "),
        ("mine.biases", "mine.biases failed: TypeError", "called.py"),
        ("mine.number", "the module mine has no function number", ""),
        ("mine.absent", "the module mine has no function absent", ""),
    ],
)
def test_a_function_that_fails_is_a_diagnostic(mine: Path, call: str, message: str, note: str) -> None:
    diagnostic = refused(compiled(mine, allow_init_imports=True, fc3=f"initWFunc={call}"))
    assert diagnostic.code == "CS717"
    assert message in diagnostic.message
    assert note in " ".join(diagnostic.notes)


def test_a_module_that_fails_is_a_diagnostic(mine: Path) -> None:
    (mine / "mine.py").write_text("1 / 0\n")
    diagnostic = refused(compiled(mine, allow_init_imports=True, fc3="initWFunc=mine.weights"))
    assert diagnostic.message == "the module mine cannot be imported: ZeroDivisionError: division by zero"


@pytest.mark.parametrize("key", ["initWFunc=mine.weights(C)", "initBFunc=mine.biases(1)"])
def test_nothing_is_imported_without_leave(mine: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DiagnosticError, match=r"CS605.*mine\.\w+, code that training would import"):
        compiled(mine, fc3=key)
    spec = str(mine / "spec.cfg")
    assert main(["check", spec]) == 0
    assert main(["compile", spec]) == 1
    assert main(["train", spec, "--run", str(mine / "run"), "--device", "cpu"]) == 1
    assert "CS605" in capsys.readouterr().err
    assert main(["compile", spec, "--allow-init-imports"]) == 0
    with pytest.raises(DiagnosticError, match="CS605"):
        convspec.load(spec)
    assert convspec.load(spec, allow_init_imports=True).get_parameter("fc3.weight").shape == (10, 6)
    assert "mine" not in sys.modules
    assert not (mine / "run").exists()


def test_values_are_set_when_a_run_begins_and_not_when_it_goes_on(
    run: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    path, weights = run
    keys = {"conv1a": "initWFunc=initw.makew(conv1b)\nepsW=0\nepsB=0", "fc3": "initWFunc=initw.makew(fc3)"}
    one = compiled(tmp_path, train=f"initFrom={path}\nbatch=64", **keys)
    train(one, run_dir=tmp_path / "new", display=SilentDisplay(), max_steps=3)
    kept = load_newest(tmp_path / "new" / "checkpoints", lambda diagnostic: None)
    assert kept is not None
    assert torch.equal(kept.weights["conv1a.weight"], weights["conv1b.weight"]), "frozen, and so as it began"
    assert not torch.equal(kept.weights["fc3.weight"], weights["fc3.weight"]), "learning from where it began"
    assert (kept.weights["fc3.weight"] - weights["fc3.weight"]).abs().max() < 0.5
    path.rename(tmp_path / "gone")
    result = train(one, resume=tmp_path / "new", display=SilentDisplay(), max_steps=5)
    assert result.steps == 5


def test_the_command_line_names_the_run(run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, weights = run
    compiled(tmp_path, conv1a="initWFunc=initw.makew(conv1b)\nepsW=0\nepsB=0", train="batch=64")
    options = ["--run", str(tmp_path / "new"), "--steps", "1", "--device", "cpu"]
    assert main(["train", str(tmp_path / "spec.cfg"), *options]) == 1, "conv1b is no run"
    folder = tmp_path / "second"
    assert (
        main(["train", str(tmp_path / "spec.cfg"), "--init-from", str(path), *options[2:], "--run", str(folder)]) == 0
    )
    kept = load_newest(folder / "checkpoints", lambda diagnostic: None)
    assert kept is not None
    assert torch.equal(kept.weights["conv1a.weight"], weights["conv1b.weight"])
    assert json.loads((folder / "settings.json").read_text())["name"] == "spec"
    assert f"initFrom={path}" in (folder / "resolved.cfg").read_text()


def test_an_imported_run_serves_as_well(tmp_path: Path) -> None:
    """A checkpoint of cuda-convnet, a column a filter, to the first weights of a new network."""
    old = Net("ccn1")
    old.data("data", 0, 3 * 8 * 8)
    old.data("labels", 1, 1)
    old.conv("conv1", ["data"], filters=8, filterSize=3, stride=1, padding=1, neuron="relu")
    old.fc("fc10", ["conv1"], 10)
    old.same("probs", ["fc10"], "softmax")
    old.cost("logprob", ["labels", "probs"])
    run = import_checkpoint(old.save(tmp_path / "ConvNet"), tmp_path / "imported").run_dir
    spec = tmp_path / "new.cfg"
    spec.write_text(
        f"[@net]\ninput=data:3x8x8\noutputs=wide\n[@train]\ninitFrom={run}\n"
        "[@params]\nepsW=0.01\nepsB=0.01\nmomW=0.9\nmomB=0.9\ninitW=0.1\n"
        "[data]\ntype=data\ndataIdx=0\n"
        "[wide]\ntype=conv\ninputs=data\nfilters=16\nfilterSize=3\npadding=1\n"
        "initWFunc=initw.makewcat(/nobackup/net,conv1,conv1)\ninitBFunc=initw.makebcat(/nobackup/net,conv1,conv1)\n"
    )
    start = started(compile_spec(spec))
    matrix, biases = old.layers["conv1"]["weights"][0], old.layers["conv1"]["biases"]
    assert matrix.shape == (27, 8)
    for filters in (slice(0, 8), slice(8, 16)):
        np.testing.assert_array_equal(start["wide.weight"][filters].reshape(8, 27), matrix.T)
        np.testing.assert_array_equal(start["wide.bias"][filters], biases.ravel())
