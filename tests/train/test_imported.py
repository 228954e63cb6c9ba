"""Old checkpoints: what is imported computes what the old matrices compute, and goes on from where they stood.

The checkpoints are written by `old_nets`, in the layout of each program; nobody kept real ones for us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convspec.checker import check
from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.emit.load import instantiate
from convspec.train import old_weights
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from convspec.train.imported import import_checkpoint
from convspec.train.optimizer import PaperSGD
from convspec.train.trainer import train
from tests.data.python2 import dumps
from tests.train.old_forward import old_forward
from tests.train.old_nets import Net

SIDE, CASES = 8, 5


def begun(program: str) -> Net:
    net = Net(program)
    net.data("data", 0, 3 * SIDE * SIDE)
    net.data("labels", 1, 1)
    return net


def ended(net: Net, top: str | list[str], **given: Any) -> Net:
    net.fc("fc10", [top] if isinstance(top, str) else top, 10, **given)
    net.same("probs", ["fc10"], "softmax")
    net.cost("logprob", ["labels", "probs"])
    return net


def ccn1() -> Net:
    """Groups, a stride that leaves an overhang, two neurons with arguments, a neuron layer of its own."""
    net = begun("ccn1")
    net.conv("conv1", ["data"], filters=8, filterSize=3, stride=2, padding=1, neuron="relu", initW=0.0001)
    net.norm("norm1", "conv1", "cmrnorm", 5, 0.5, 0.75)
    net.conv("conv2", ["norm1"], channels=8, groups=2, filters=3, filterSize=2, neuron="tanh[1.70, .66]", epsW=0.001)
    net.pool("pool2", "conv2", size=2, stride=1)
    net.fc("fc3", ["pool2"], 7)
    net.same("act3", ["fc3"], "neuron", neuron="logistic")
    return ended(net, "act3", epsW=0.01, wc=0.01)


def alexnet2012() -> Net:
    """Two towers that meet in layer 2, which sums three inputs with rates of their own; GPUs; hs; concat."""
    net = begun("alexnet2012")
    for gpu, tower in enumerate("ab"):
        net.conv(f"conv1{tower}", ["data"], filters=4, filterSize=3, padding=1, gpu=gpu, neuron="relu")
    for gpu, tower in enumerate("ab"):
        net.conv(
            f"conv2{tower}",
            ["conv1a", "conv1b", "data"],
            channels=[4, 4, 3],
            filters=5,
            filterSize=[3, 3, 5],
            padding=[0, 0, 1],
            epsW=[0.01, 0.02, 0.03],
            wc=[0.0, 0.1, 0.2],
            gpu=gpu,
            neuron="relu",
        )
        net.pool(f"pool2{tower}", f"conv2{tower}", "avg")
        net.same(f"hs2{tower}", [f"pool2{tower}"], "hs", keep=0.5, enable=True)
    net.concat("both", ["hs2a", "hs2b"])
    return ended(net, ["both", "hs2a"], epsW=[0.01, 0.002])


def ccn2() -> Net:
    """Schedules, GPUs as lists, normalisation with a divisor, dropout of both kinds."""
    net = begun("ccn2")
    falling = {"type": "dexp", "params": {"base": 0.01, "tgtFactor": 10.0, "numSteps": 3}}
    net.conv("conv1", ["data"], filters=6, filterSize=5, padding=2, neuron="relu", epsW=falling, gpu=[0, 1])
    net.norm("norm1", "conv1", "cmrnorm", 3, 0.3, 0.75, minDiv=2.0)
    net.pool("pool1", "norm1", size=3, stride=2, start=-1)
    net.same("drop1", ["pool1"], "dropout2", keep=0.7, enable=True)
    net.fc("fc2", ["drop1"], 9, neuron="relu", gpu=[0])
    net.same("drop2", ["fc2"], "dropout", keep=0.5, enable=True)
    return ended(net, "drop2", epsW={"type": "linear", "params": {"base": 0.01, "tgtFactor": 2.0}})


def unshared() -> Net:
    """A bias for each output, filters for each window, in groups and over two inputs; features in parts."""
    net = begun("ccn2")
    net.conv("conv1", ["data"], filters=4, filterSize=3, stride=2, padding=1, sharedBiases=0, neuron="relu", gpu=[0])
    net.conv("local2", ["conv1"], "local", channels=4, groups=2, filters=3, filterSize=3, padding=1, neuron="relu")
    net.conv(
        "local3",
        ["local2", "conv1"],
        "local",
        channels=[6, 4],
        filters=5,
        filterSize=[2, 4],
        padding=[0, 1],
        stride=[1, 1],
        epsW=[{"type": "const", "params": {"base": 0.01}}, {"type": "const", "params": {"base": 0.02}}],
        neuron="relu",
    )
    net.fc("sfc4", ["local3"], 3, parts=4, neuron="relu")
    net.fc("sfc5", ["sfc4"], 3, parts=2)
    return ended(net, "sfc5")


def sparse() -> Net:
    """Groups that see channels drawn at random, each channel twice; one input in order and one not."""
    net = begun("alexnet2012")
    net.conv("conv1", ["data"], filters=8, filterSize=3, padding=1, gpu=0, neuron="relu")
    net.conv("conv2", ["conv1"], channels=8, groups=4, filterChannels=4, filters=2, randSparse=True, neuron="relu")
    net.conv(
        "conv3",
        ["conv2", "conv1"],
        channels=[8, 8],
        groups=[2, 2],
        filters=3,
        filterSize=[2, 4],
        randSparse=[False, True],
    )
    net.conv("local4", ["conv3"], "local", channels=6, groups=2, filters=2, filterSize=2, randSparse=True)
    return ended(net, "local4")


def shared() -> Net:
    """Weights of another layer, of another input, and of a layer whose name comes later; a neuron moves the indices."""
    net = begun("ccn1")
    net.conv("conv1", ["data"], filters=4, padding=1, neuron="relu")
    net.conv("conv2", ["conv1", "conv1"], channels=[4, 4], filters=4, padding=[1, 1], neuron="relu")
    net.conv("conv3", ["conv2"], channels=4, filters=4, padding=1, neuron="relu")
    net.share("conv2", 1, "conv2", 0)
    net.share("conv3", 0, "conv2", 1)
    net.fc("fc4", ["conv3"], 6)
    net.fc("fc5", ["conv3", "conv2"], 6)
    net.share("fc5", 1, "fc4", 0)
    return ended(net, ["fc4", "fc5"])


def shared2012() -> Net:
    net = begun("alexnet2012")
    net.conv("z1", ["data"], filters=4, padding=1, neuron="relu")
    net.conv("a2", ["z1"], channels=4, filters=4, padding=1, neuron="relu")
    net.conv("a0", ["data"], filters=4, padding=1)
    net.share("a0", 0, "z1", 0)
    return ended(net, ["a2", "a0"], epsW=[0.01, 0.02])


def tree() -> Net:
    net = begun("alexnet2012")
    net.conv("conv1", ["data"], filters=4, neuron="relu", gpu=0)
    children = [[] for _ in range(10)] + [[0, 3, 1], [2, 4], [10, 5], [11, 6, 7], [12, 13, 8, 9]]
    net.tree("fc10", "conv1", children, 14)
    net.same("probs", ["fc10"], "softmax")
    net.cost("logprob", ["labels", "probs"])
    return net


NETS: dict[str, Callable[[], Net]] = {
    make.__name__: make for make in (ccn1, alexnet2012, ccn2, unshared, sparse, shared, shared2012, tree)
}


def inputs_of(net: Net) -> dict[str, Any]:
    random = np.random.default_rng(7)
    return {
        name: random.standard_normal((fields["outputs"], CASES))
        for name, fields in net.layers.items()
        if fields["type"] == "data"
    }


def load(run: Path) -> tuple[Compiled, Checkpoint]:
    return compile_spec(str(run / "resolved.cfg")), load_checkpoint(list_checkpoints(run / "checkpoints")[-1])


def new_forward(run: Path, net: Net) -> np.ndarray[Any, Any]:
    """Probabilities of the imported network, (classes, cases), in float64."""
    compiled, checkpoint = load(run)
    module = instantiate(compiled.source, compiled.name)
    module.load_state_dict(dict(checkpoint.weights))
    module.double().eval()
    images = torch.from_numpy(inputs_of(net)["data"].T.reshape(CASES, 3, SIDE, SIDE).copy())
    with torch.no_grad():
        probabilities: torch.Tensor = module({"data": images, "labels": torch.zeros(CASES, dtype=torch.int64)})["probs"]
    return probabilities.numpy().T


def imported(net: Net, tmp_path: Path, name: str = "run", **options: Any) -> Path:
    given = {"train_batch_range": [1, 2, 3, 4, 5], "num_epochs": 4, "minibatch_size": 100, **options}
    return import_checkpoint(net.save(tmp_path / "3.2", **given), tmp_path / name).run_dir


@pytest.mark.parametrize("name", NETS)
def test_it_computes_what_the_old_matrices_compute(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    run = imported(net, tmp_path)
    np.testing.assert_allclose(new_forward(run, net), old_forward(net, **inputs_of(net))["probs"], rtol=0, atol=1e-10)


def broken_weights(layer_type: str, matrix: Any, shape: tuple[int, ...], parts: int = 1) -> Any:
    """Filters read as rows: right in size, wrong in place."""
    return np.ascontiguousarray(matrix).reshape(shape)


@pytest.mark.parametrize("name", NETS)
def test_a_wrong_layout_is_seen(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_weights, "weights_of", broken_weights)
    net = NETS[name]()
    run = imported(net, tmp_path)
    difference = np.abs(new_forward(run, net) - old_forward(net, **inputs_of(net))["probs"]).max()
    assert difference > 1e-3


def test_the_spec_says_what_the_file_said(tmp_path: Path) -> None:
    text = (imported(ccn2(), tmp_path) / "spec.cfg").read_text()
    for line in [
        "input=data:3x8x8, labels:1",
        "classes=10",
        "batch=100",
        "epochs=4",
        "schedule=spec",
        "epsW=dexp[base=0.01;tgtFactor=10;numSteps=3]",
        "epsW=linear[base=0.01;tgtFactor=2]",
        "scale=0.3",
        "minDiv=2",
        "start=-1",
        "gpu=0,1",
        "neuron=relu",
        "padding=2",
        "keep=0.7",
        "wc=0.0005",
    ]:
        assert f"\n{line}\n" in text
    assert "_neuron" not in text
    assert "outputsX" not in text
    names = [line for line in text.splitlines() if line.startswith("[") and not line.startswith("[@")]
    assert names == [f"[{name}]" for name in ccn2().layers]


def test_shared_weights_stay_shared(tmp_path: Path) -> None:
    run = imported(shared(), tmp_path)
    text = (run / "spec.cfg").read_text()
    assert "weightSource=,conv2[0]\n" in text
    assert "weightSource=conv2[1]\n" in text
    assert "weightSource=,fc4[0]\n" in text
    _, checkpoint = load(run)
    assert not any(name.startswith(("conv3.weight", "fc5.weights.1")) for name in checkpoint.weights)


def test_a_source_stands_above_its_reader(tmp_path: Path) -> None:
    layers = list(check(imported(shared2012(), tmp_path) / "spec.cfg").graph.layers)
    assert layers.index("z1") < layers.index("a0") < layers.index("a2")


def test_a_tree_that_the_checkpoint_lacks_is_given_by_hand(tmp_path: Path) -> None:
    net = tree()
    fields = net.layers["fc10"]
    given = json.dumps({"children": fields["tree"], "root": 14}, separators=(",", ":"))
    state = net.state()
    state["layers"]["fc10"] = {key: value for key, value in fields.items() if key not in ("tree", "rootLabel")}
    (tmp_path / "x").write_bytes(dumps({"model_state": state}))
    with pytest.raises(DiagnosticError, match="CS606"):
        import_checkpoint(tmp_path / "x", tmp_path / "run")
    run = import_checkpoint(tmp_path / "x", tmp_path / "run", overrides=[f"fc10.tree={given}"]).run_dir
    np.testing.assert_allclose(new_forward(run, net), old_forward(net, **inputs_of(net))["probs"], rtol=0, atol=1e-10)


def test_equal_checkpoints_give_equal_runs(tmp_path: Path) -> None:
    first, second = imported(alexnet2012(), tmp_path, "a"), imported(alexnet2012(), tmp_path, "b")
    for file in sorted(first.rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()


def test_layers_in_any_order_are_put_in_order(tmp_path: Path) -> None:
    """Dictionaries of Python 2 have none."""
    layers = list(check(imported(alexnet2012(), tmp_path) / "spec.cfg").graph.layers)
    for layer in check(tmp_path / "run" / "spec.cfg").graph.layers.values():
        assert all(layers.index(source) < layers.index(layer.name) for source in layer.input_names)
    assert layers[0] == "data"


def test_momentum_goes_on_by_the_old_rule(tmp_path: Path) -> None:
    """One update with gradients of zero: inc <- mom*inc - eps*wc*w, w <- w + inc, on the matrices as they are."""
    net = ccn1()
    compiled, checkpoint = load(imported(net, tmp_path))
    module = instantiate(compiled.source, compiled.name)
    module.load_state_dict(dict(checkpoint.weights))
    optimizer = PaperSGD(compiled.program, module)
    buffers = {k.removeprefix("momentum/"): t for k, t in checkpoint.training.items() if k.startswith("momentum/")}
    optimizer.load_momentum(buffers, checkpoint.state["momentum_rates"])
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_rates(0.5)
    optimizer.step(0)
    moved = module.state_dict()
    for name, rate, decay in [("fc10", 0.01, 0.01), ("fc3", 0.01, 0.0005)]:
        fields = net.layers[name]
        matrix = fields["weights"][0].astype(np.float64)
        matrix = matrix + 0.9 * fields["weightsInc"][0] - rate * decay * matrix
        np.testing.assert_allclose(moved[f"{name}.weight"].numpy(), matrix.T, rtol=0, atol=1e-7)
        biases = fields["biases"] + 0.9 * fields["biasesInc"]
        np.testing.assert_allclose(moved[f"{name}.bias"].numpy(), biases[0], rtol=0, atol=1e-7)
    fields = net.layers["conv2"]
    matrix = fields["weights"][0] * (1 - 0.001 * 0.0005) + 0.9 * fields["weightsInc"][0]
    weight = moved["conv2.weight"].numpy()
    for f, c, y, x in [(0, 0, 0, 0), (5, 3, 1, 0), (2, 1, 0, 1)]:
        np.testing.assert_allclose(weight[f, c, y, x], matrix[c * 4 + y * 2 + x, f], rtol=0, atol=1e-7)


@pytest.mark.parametrize("place", ["save_checkpoint", "writing_to", "RunFolder.describe"])
def test_an_import_that_was_stopped_is_made_again(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "run" / ".importing" / "0003-00000015").mkdir(parents=True)  # after a kill
    (tmp_path / "run" / ".lock").touch()
    with monkeypatch.context() as patch:
        patch.setattr(f"convspec.train.imported.{place}", stopped)
        with pytest.raises(KeyboardInterrupt):
            imported(ccn1(), tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    run = imported(ccn1(), tmp_path)
    assert not (run / ".importing").exists()
    assert len(list((run / "checkpoints").iterdir())) == 1


def test_it_goes_on_where_it_stood(tmp_path: Path) -> None:
    """After 3.2 of batches 1-5, two epochs and two fifths are done."""
    run = imported(ccn1(), tmp_path)
    compiled, checkpoint = load(run)
    assert (checkpoint.state["epoch"], checkpoint.state["share_of_epoch"]) == (2, 0.4)
    result = train(compiled, data="digits", resume=run, max_steps=2 * 15 + 6 + 1)
    assert (result.epochs, result.steps, result.finished) == (2, 37, False)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert (first["event"], first["step"]) == ("step", 37)
    assert json.loads((run / "settings.json").read_text())["data"] == "digits"
    result = train(compiled, resume=run)
    assert (result.epochs, result.finished) == (4, True)
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**settings, "fingerprint": "other"}))
    with pytest.raises(DiagnosticError, match="CS709"):
        train(compiled, resume=run)


def test_a_network_with_two_costs_goes_on(tmp_path: Path) -> None:
    net = ccn1()
    net.cost("again", ["labels", "probs"])
    run = imported(net, tmp_path)
    compiled, checkpoint = load(run)
    assert checkpoint.state["epoch_sums"] == [0.0] * 4
    assert train(compiled, data="digits", resume=run, max_steps=2 * 15 + 6 + 1).steps == 37


def test_two_ways_of_going_on_give_the_same_bits(tmp_path: Path) -> None:
    weights = []
    for name, stops in (("whole", [40]), ("parts", [37, 40])):
        run = imported(ccn1(), tmp_path, name)
        compiled, _ = load(run)
        for stop in stops:
            train(compiled, data="digits", resume=run, max_steps=stop)
        weights.append(load(run)[1].weights)
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_run_that_is_done_says_so(tmp_path: Path) -> None:
    path = ccn1().save(tmp_path / "4.5", 4, 5, train_batch_range=[1, 2, 3, 4, 5], num_epochs=4)
    assert import_checkpoint(path, tmp_path / "done").is_finished
    more = import_checkpoint(path, tmp_path / "more", overrides=["@train.epochs=6", "fc10.epsW=0.5"])
    assert not more.is_finished
    compiled, _ = load(more.run_dir)
    assert compiled.train.epochs == 6
    assert (more.run_dir / "spec.cfg").read_text() == (more.run_dir / "resolved.cfg").read_text()
    assert compiled.program.parameter["fc10.weight"].update.rate.base == 0.5


def test_the_last_file_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "ConvNet__2012-09-30_12.00.00"
    folder.mkdir()
    for epoch, batch in ((2, 5), (10, 1), (9, 12)):
        ccn1().save(folder / f"{epoch}.{batch}", epoch, batch, train_batch_range=list(range(1, 13)))
    (folder / ".hidden").write_text("x")
    assert import_checkpoint(folder, tmp_path / "run").epochs == 9


def test_without_options_and_momentum(tmp_path: Path) -> None:
    net = ccn2()
    state = net.state(7, 3)
    for fields in state["layers"].values():
        for key in ("weightsInc", "biasesInc"):
            fields.pop(key, None)
    (tmp_path / "7.3").write_bytes(dumps({"model_state": state}))
    told: list[Diagnostic] = []
    result = import_checkpoint(tmp_path / "7.3", tmp_path / "run", notify=told.append)
    assert (result.epochs, result.share) == (6, 0)
    assert [d.code for d in told] == ["CS722"]
    assert "start at rest" in told[0].message
    compiled, _ = load(result.run_dir)
    assert train(compiled, data="digits", resume=result.run_dir, max_steps=1).steps > 0


# what does not fit


def spoilt(tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], make: Callable[[], Net] = ccn2) -> Diagnostic:
    state = make().state()
    spoil(state)
    (tmp_path / "x").write_bytes(dumps({"model_state": state, "op": None}))
    with pytest.raises(DiagnosticError) as caught:
        import_checkpoint(tmp_path / "x", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return caught.value.diagnostics[0]


def set_in(layer: str, **fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state["layers"][layer].update(fields)


MATRIX = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (set_in("conv1", weights=[MATRIX]), "CS722", "weights[0] of conv1 is 2x3, and the layer needs 75x6"),
        (set_in("conv1", weights=[np.zeros((75, 6, 1), np.float32)]), "CS722", "is 75x6x1, and the layer needs 75x6"),
        (set_in("conv1", weights=[]), "CS722", "conv1 has no weights"),
        (set_in("conv1", weights=[np.full((75, 6), np.nan, np.float32)]), "CS722", "are not finite"),
        (set_in("conv1", weights="none"), "CS722", "weights[0] of conv1 is a str of length 4, not a matrix"),
        (set_in("fc2", biases=MATRIX), "CS722", "biases of fc2 is 2x3, and the layer needs 9 numbers"),
        (set_in("fc2", biases=None), "CS722", "fc2 has no biases"),
        (set_in("fc2", weightsInc=[MATRIX]), "CS722", "weightsInc[0] of fc2 is 2x3"),
        (set_in("fc2", type="logsoftmax"), "CS721", "layer fc2 has type 'logsoftmax', which does not exist"),
        (set_in("fc2", type=3), "CS721", "layer fc2 has type '?'"),
        (set_in("fc2", inputs=["nowhere"]), "CS721", "layer fc2 reads a layer that the checkpoint does not have"),
        (set_in("norm1", inputs=["fc2"]), "CS721", "cycle"),
        (set_in("fc2", outputs=8), "CS722", "weights[0] of fc2 is 96x9, and the layer needs 96x8"),
        (set_in("conv1", groups=[4]), "CS721", "do not divide"),
        (set_in("conv1", filterSize=[[5]]), "CS721", "filterSize of conv1 is of a form"),
        (set_in("conv1", neuron={"type": "relu\nx"}), "CS721", "neuron of conv1 is of a form"),
        (set_in("conv1_neuron", neuron={"type": "tanh", "params": {}}), "CS721", "is not the neuron of conv1"),
        (set_in("conv1", epsW=[float("nan")]), "CS721", "epsW of conv1 is nan"),
        (set_in("pool1", pool="max\n[evil]"), "CS721", "pool of pool1 is of a form"),
        (set_in("conv1", filterSize=[50]), "CS721", "its layers make no network"),
        (set_in("conv1", name="conv1]\n[x"), "CS721", "a name that no layer file can give"),
        (set_in("conv1", name="fc2"), "CS721", "two of its layers have one name"),
        (set_in("data", outputs=0, end=0), "CS721", "layer data has no number of outputs"),
        (lambda state: state.pop("layers"), "CS721", "it holds no layers"),
        (lambda state: state.update(layers=[3]), "CS721", "one of its layers is no dictionary with a name"),
        (lambda state: state.update(epoch="x"), "CS721", "'epoch' and 'batchnum' are no whole numbers"),
    ],
)
def test_what_does_not_fit_is_told(
    spoil: Callable[[dict[str, Any]], Any], code: str, says: str, tmp_path: Path
) -> None:
    diagnostic = spoilt(tmp_path, spoil)
    assert diagnostic.code == code
    assert says in diagnostic.message


@pytest.mark.parametrize(
    ("connections", "says"),
    [
        (None, "filterConns[0] of conv2 is None, not 16 numbers of channels"),
        ([[1] * 15], "is a list of length 15, not 16"),
        ([[0.5] * 16], "is a list of length 16, not 16 numbers"),
        ([[8] * 16], "names a channel beyond the 8"),
    ],
)
def test_connections_that_do_not_fit(connections: Any, says: str, tmp_path: Path) -> None:
    diagnostic = spoilt(tmp_path, set_in("conv2", filterConns=connections), sparse)
    assert diagnostic.code == "CS722"
    assert says in diagnostic.message


@pytest.mark.parametrize("value", [None, [], {}, {"data": 3}, 7, "x"])
def test_another_pickle_is_no_checkpoint(value: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(dumps(value))
    with pytest.raises(DiagnosticError, match=r"CS721.*without a 'model_state'"):
        import_checkpoint(tmp_path / "x", tmp_path / "run")


def test_mistakes_of_the_layers_are_shown_in_the_spec_that_was_made_of_them(tmp_path: Path) -> None:
    state = ccn2().state()
    state["layers"]["conv1"]["filterSize"] = [50]
    (tmp_path / "x").write_bytes(dumps({"model_state": state}))
    with pytest.raises(DiagnosticError) as caught:
        import_checkpoint(tmp_path / "x", tmp_path / "run")
    _, first, *_ = caught.value.diagnostics
    assert first.code == "CS403"
    assert first.span is not None
    assert first.span.text == "50"
