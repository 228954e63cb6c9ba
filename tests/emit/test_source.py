"""The emitted source as text and as a program of its own: goldens, equal bytes, linters, life without the compiler.

`UPDATE_GOLDEN=1 pytest tests/emit/test_source.py` writes the goldens anew; look at what changed before you commit them.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import convspec
from convspec.compiler import compile_spec
from convspec.emit.header import class_name
from convspec.passes.pipeline import Target
from convspec.resources import spec_path
from convspec.testing import specs
from tests.emit.comparison import all_layers
from tests.emit.cost_specs import COSTS, spec
from tests.emit.small_specs import TWO_TOWERS, UNSHARED, classifier, layer, parted

GOLDENS = Path(__file__).parent / "goldens"
SPECS = sorted(path.name for path in spec_path("alexnet.cfg").parent.glob("*.cfg"))
# The name of the golden, and the spec.
GOLDEN_SPECS = {
    "alexnet": spec_path("alexnet.cfg"),
    "alexnet_devices": spec_path("alexnet.cfg"),
    "alexnet_2012": spec_path("alexnet-2012.cfg"),
    "lenet_digits": spec_path("lenet-digits.cfg"),
    "two_towers": TWO_TOWERS,
}


@pytest.mark.parametrize("name", GOLDEN_SPECS)
def test_golden(name: str) -> None:
    target = Target.DEVICES if name.endswith("_devices") else Target.FOLDED
    source = compile_spec(GOLDEN_SPECS[name], target=target).source
    golden = GOLDENS / f"{name}.py"
    if os.environ.get("UPDATE_GOLDEN"):
        assert not os.environ.get("CI"), "goldens are not written under CI"
        golden.write_text(source, encoding="utf-8")
    assert source == golden.read_text(encoding="utf-8")


def load_golden(name: str) -> nn.Module:
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net: nn.Module = getattr(module, class_name(compile_spec(GOLDEN_SPECS[name]).name))()
    return net


@pytest.mark.parametrize("name", GOLDEN_SPECS)
def test_golden_runs(name: str) -> None:
    """The file itself, not what the compiler gives today: one image through it and back."""
    checked = convspec.check(GOLDEN_SPECS[name])
    dims = {layer.name: layer.shape for layer in checked.layers}
    net = load_golden(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images = torch.randn(1, *dims["data"])
    outputs = net({"data": images, "labels": torch.zeros(1, dtype=torch.int64)})
    costs = [layer.name for layer in checked.layers if layer.type == "cost.logreg"]
    probabilities = outputs[checked.graph.layers[costs[0]].input_names[1]]
    assert probabilities.shape == (1, *dims[checked.graph.layers[costs[0]].input_names[1]])
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    net.objective(outputs).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    rows = checked.totals.network
    assert sum(parameter.numel() for parameter in net.parameters()) == rows.parameters


def test_equal_bytes_under_any_hash_seed() -> None:
    """Nothing that is printed came out of a set."""
    script = dedent("""
        import sys, convspec
        for text in sys.stdin.read().split(chr(0)):
            sys.stdout.write(convspec.compile(text))
    """)
    texts = [TWO_TOWERS, *(spec_path(name).read_text(encoding="utf-8") for name in SPECS)]
    emitted = [
        subprocess.run(
            [sys.executable, "-c", script],
            input="\0".join(texts),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert emitted[0] == emitted[1]
    assert emitted[0] == "".join(convspec.compile(text) for text in texts)


@given(text=specs(towers=2, max_side=10))
@settings(max_examples=25)
def test_equal_specs_give_equal_bytes(text: str) -> None:
    assert convspec.compile(text) == convspec.compile(text)


def _with_long_names(text: str, length: int) -> str:
    for name in ("tags", "labels", "guesses", "scores"):
        text = re.sub(rf"\b{name}\b", name + "_" * (length - 1) + "x", text)
    return text


def _long_sum(end: str) -> str:
    a, b, c, total = (f"{name}{end}x" for name in ("a", "b", "c", "total"))
    convolution = {"type": "conv", "filters": 4, "filterSize": 3, "padding": 1}
    return classifier(
        layer(a, inputs="data", **convolution)
        + layer(b, inputs=a, **convolution)
        + layer(c, inputs=f"data,{a}", **convolution | {"filterSize": "3,3", "padding": "1,1"})
        + layer(total, type="eltsum", inputs=f"{a},{b},{c}", coeffs="-1,0.25,1", neuron="relu"),
        leaves=total,
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the modules of all specs, of one that gives every layer, and of some generated ones."""
    folder = tmp_path_factory.mktemp("emitted")
    texts: dict[str, str | Path] = {Path(name).stem.replace("-", "_"): spec_path(name) for name in SPECS}
    texts["two_towers"] = TWO_TOWERS
    texts["all_costs"] = spec(*COSTS, net="name=AllCosts")
    for length in range(4, 44, 4):
        # Names so long that the line of a cost, or that of its arguments, no longer fits.
        texts[f"long_costs_{length}"] = _with_long_names(spec(*COSTS), length)
        texts[f"long_sum_{length}"] = _long_sum("_" * length)
    texts["unshared"] = UNSHARED
    tree = {"children": [[] for _ in range(200)] + [list(range(100)), list(range(100, 200)), [200, 201]], "root": 202}
    texts["tree"] = classifier(layer("x", type="treefc", inputs="data", tree=json.dumps(tree)), leaves="x").replace(
        "classes=4\n", "\n"
    )

    @given(text=specs(towers=2, max_layers=8))
    @settings(max_examples=40, database=None, derandomize=True)
    def collect(text: str) -> None:
        texts[f"generated_{len(texts)}"] = text

    collect()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(convspec.compile(text), encoding="utf-8")
    several: dict[str, str | Path] = {
        Path(name).stem.replace("-", "_"): spec_path(name)
        for name in ("alexnet.cfg", "alexnet-hybrid.cfg", "alexnet-2012.cfg", "resnet20.cfg")
    }
    several["replicas"] = parted(fc="2")

    @given(text=st.one_of(specs(towers=2, max_layers=8), specs(towers=2, replicas=2, max_layers=6)))
    @settings(max_examples=20, database=None, derandomize=True)
    def collect_placed(text: str) -> None:
        several[f"generated_{len(several)}"] = text

    collect_placed()
    for name, text in several.items():
        for target in (Target.DEVICES, Target.SPMD):
            path = folder / f"{target.value}_{name}.py"
            path.write_text(compile_spec(text, target=target).source, encoding="utf-8")
    everything = convspec.compile(TWO_TOWERS, outputs=all_layers(convspec.check(TWO_TOWERS)))
    (folder / "everything.py").write_text(everything, encoding="utf-8")
    return folder


def run_tool(*arguments: str, folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *arguments, "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def test_ruff_finds_nothing(sources: Path) -> None:
    rules = "ANN,B,C4,E,F,N,NPY,PERF,PGH,PIE,PLC,PLE,PLW,RET,RUF,SIM,UP,W"
    run_tool("ruff", "check", "--isolated", "--line-length=120", f"--select={rules}", "--ignore=N812", folder=sources)


def test_ruff_would_format_nothing(sources: Path) -> None:
    run_tool("ruff", "format", "--check", "--diff", "--isolated", "--line-length=120", folder=sources)


def test_mypy_finds_nothing(sources: Path, pytestconfig: pytest.Config) -> None:
    """Most of its time goes into torch itself, which the cache keeps for the next run. Hooks of torch have no types."""
    cache = pytestconfig.cache.mkdir("mypy")
    run_tool("mypy", "--strict", "--allow-untyped-calls", f"--cache-dir={cache}", folder=sources)


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("convspec", "lark", "click"):
            raise ModuleNotFoundError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import pickle, torch
from two_towers import TwoTowers
torch.manual_seed(0)
net = TwoTowers().eval()
inputs = {"data": torch.randn(2, 3, 16, 16), "labels": torch.tensor([0, 3])}
outputs = net(inputs)
net.objective(outputs).backward()
twin = pickle.loads(pickle.dumps(net))
again = TwoTowers().eval()
again.load_state_dict(net.state_dict())
for other in (twin, again):
    for name, value in other(inputs).items():
        assert torch.equal(value, outputs[name]), name
assert list(net.state_dict()) == list(twin.state_dict())
assert "conv3b.weights.1" in net.state_dict()
assert not [name for name in sys.modules if name.split(".")[0] == "convspec"]
print("ran")
"""


def test_a_module_lives_without_the_compiler(tmp_path: Path) -> None:
    """It runs, learns, pickles and loads a state where nothing of convspec but its kernels can be imported."""
    source = convspec.compile(TWO_TOWERS)
    (tmp_path / "two_towers.py").write_text(source, encoding="utf-8")
    (tmp_path / "main.py").write_text(BLOCKED, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    result = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "ran\n", result.stderr


def test_a_loaded_module_pickles_in_its_process() -> None:
    net = convspec.load(TWO_TOWERS).eval()
    inputs: dict[str, Tensor] = {"data": torch.ones(1, 3, 16, 16)}
    expected = net(inputs)["probs"]
    assert torch.equal(pickle.loads(pickle.dumps(net))(inputs)["probs"], expected)
    assert torch.equal(copy.deepcopy(net)(inputs)["probs"], expected)


def test_sizes_stand_on_the_lines() -> None:
    lines = convspec.compile(spec_path("alexnet.cfg")).splitlines()
    sizes = [line.partition("  # ")[2] for line in lines if line.startswith("        ")]
    for wanted in ("96x55x55", "96x27x27", "256x27x27", "256x13x13", "384x13x13", "256x6x6", "4096", "1000"):
        assert wanted in sizes


@pytest.mark.parametrize("name", ["F", "Tensor", "PARENTS", "TreeLinear"])
def test_a_network_may_be_called_as_what_its_module_imports(name: str) -> None:
    layers = layer("x", type="treefc", inputs="data", tree='{"children": [[], [], [], [], [0, 1, 2, 3]], "root": 4}')
    net = convspec.load(classifier(layers, leaves="x", net=f"name={name}"))
    assert type(net).__name__ == f"{name}Net"
    outputs = net({"data": torch.zeros(2, 3, 9, 9), "labels": torch.tensor([0, 1])})
    assert outputs["probs"].shape == (2, 4)


@pytest.mark.parametrize(
    ("wanted", "layers"),
    [
        ("Noise.draw(self.training)", layer("x", type="dropout", inputs="data")),
        (
            "Noise.draw()",
            layer("d", type="dropout", inputs="data") + layer("x", type="neuron", inputs="d", neuron="nrelu"),
        ),
        ("Noise.draw(self.training)", layer("x", type="rscale", inputs="data", maxScale=1.25)),
        (None, layer("x", type="dropout", inputs="data", keep=1)),
        (None, layer("x", type="dropout2", inputs="data", enable=0)),
    ],
)
def test_random_numbers_are_asked_for_where_they_are_drawn(wanted: str | None, layers: str) -> None:
    source = convspec.compile(classifier(layers, leaves="x"))
    assert ("noise" in source) == (wanted is not None)
    assert wanted is None or source.count(wanted) == 1


def test_layers_may_be_called_as_what_draws_is() -> None:
    layers = "".join(
        layer(name, type="fc", inputs=before, outputs=8, neuron="nrelu")
        + layer(f"{name}2", type="dropout", inputs=name)
        for before, name in (("data", "noise"), ("noise2", "dropout"), ("dropout2", "Noise"), ("Noise2", "normal_like"))
    )
    net = convspec.load(classifier(layers, leaves="normal_like2"))
    net.train()({"data": torch.zeros(2, 3, 9, 9)})
