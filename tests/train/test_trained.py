"""Runs opened for use: what they give, and that reading leaves them, and whoever trains there, alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convspec.cli import main
from convspec.compiler import compile_spec
from convspec.data import Batch, Dataset, Split
from convspec.data.augmentation import Augmentation
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices
from convspec.data.layout import read_folder
from convspec.data.relabelled import Relabelled
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity, SourceFile, Span
from convspec.program.initial import Copied, InitialValue, Piece
from convspec.train import checkpoint as checkpoints
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, newest_state, save_checkpoint
from convspec.train.display import SilentDisplay
from convspec.train.imported import import_checkpoint
from convspec.train.initial import set_initial_values
from convspec.train.run import RunFolder
from convspec.train.saved import read_run, read_weights
from convspec.train.trained import open_trained
from convspec.train.trainer import train
from tests.train.old_nets import Net

SPEC = """[@net]
name=Tiny
input=data:1x8x8
classes=10
[@params]
epsW=0.001
epsB=0.001
momW=0.9
momB=0.9
initW=0.01
[@train]
epochs=2
batch=100
[@data]
provider=digits
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
filters=4
filterSize=3
neuron=relu
[fc2]
type=fc
inputs=conv1
outputs=10
[probs]
type=softmax
inputs=fc2
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(compile_spec(SPEC), run_dir=run, display=SilentDisplay())
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_a_run_gives(finished: Path) -> None:
    trained = open_trained(finished, device="cpu", outputs=["conv1"])
    newest = list_checkpoints(finished / "checkpoints")[-1]
    assert (trained.name, trained.data, trained.checkpoint) == ("Tiny", "digits", newest.name)
    assert trained.classes == tuple(map(str, range(10)))
    assert (trained.input_shape, trained.stored_shape) == ((1, 8, 8), (8, 8, 1))
    assert trained.state["finished"] is True
    assert trained.judged == "probs"
    assert not trained.net.training
    assert not any(parameter.requires_grad for parameter in trained.net.parameters())
    for name, tensor in load_checkpoint(newest).weights.items():
        assert torch.equal(trained.net.state_dict()[name], tensor)

    dataset = trained.open_data()
    inputs = trained.inputs(5, dataset)
    pictures = np.empty((5, 8, 8, 1), np.uint8)
    labels = dataset.read(Split.TEST, np.arange(5), epoch=0, out=pictures)
    tensors, _ = inputs(Batch(pictures, labels))
    with torch.inference_mode(), trained.autocast():
        outputs = trained.net(tensors)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "probs": (5, 10),
        "logprob": (),
        "conv1": (5, 4, 6, 6),
    }
    assert trained.mean is not None
    np.testing.assert_allclose(tensors["data"][:, 0].numpy(), pictures[..., 0] - trained.mean[..., 0])


def test_reading_leaves_everything_as_it_was(run: Path) -> None:
    """Nothing is opened for writing, so that a folder that cannot be written will do; root could write into any."""
    before, numbers, opened = contents(run), torch.get_rng_state(), []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and is_watching and str(arguments[0]).startswith(str(run)):
            opened.append(arguments)

    sys.addaudithook(watch)  # for the rest of the process
    is_watching = True
    open_trained(run, device="cpu").open_data().close()
    is_watching = False
    assert len(opened) >= 4
    assert not [name for name, mode, flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]
    assert contents(run) == before
    assert torch.equal(torch.get_rng_state(), numbers)


def test_reading_works_while_another_process_trains_there(run: Path) -> None:
    training = RunFolder.reopen(run)
    try:
        assert open_trained(run, device="cpu").name == "Tiny"
    finally:
        training.close()


def test_a_checkpoint_that_is_removed_while_it_is_read_is_not_broken(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that keeps one checkpoint puts a newer one in its place between our looking and our reading."""
    folder = run / "checkpoints"
    for path in list_checkpoints(folder)[:-1]:
        shutil.rmtree(path)
    [only] = list_checkpoints(folder)
    old = load_checkpoint(only)
    newer = replace(old, state={**old.state, "epoch": old.state["epoch"] + 1})
    read: list[str] = []

    def read_too_late(path: Path) -> Checkpoint:
        if not read:
            save_checkpoint(folder, newer, keep=1)
        read.append(path.name)
        return load_checkpoint(path)

    monkeypatch.setattr("convspec.train.checkpoint.load_checkpoint", read_too_late)
    told: list[Diagnostic] = []
    assert read_run(run, notify=told.append).checkpoint.name == newer.name
    assert (told, read) == ([], [only.name, newer.name])


def replaced_as_it_is_read(run: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> Checkpoint:
    """As above, whatever reads: `reader` of checkpoint.py finds what it was given gone, and a newer one in its place."""
    folder = run / "checkpoints"
    for path in list_checkpoints(folder)[:-1]:
        shutil.rmtree(path)
    [only] = list_checkpoints(folder)
    old = load_checkpoint(only)
    newer = replace(old, state={**old.state, "epoch": old.state["epoch"] + 1})
    read = getattr(checkpoints, reader)

    def too_late(path: Path, **options: Any) -> Any:
        if not (folder / newer.name).exists():
            save_checkpoint(folder, newer, keep=1)
        return read(path, **options)

    monkeypatch.setattr(checkpoints, reader, too_late)
    return newer


def test_weights_of_a_checkpoint_that_is_removed_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replaced_as_it_is_read(run, monkeypatch, "load_checkpoint")
    told: list[Diagnostic] = []
    name, weights = read_weights(run, told.append)
    assert (name, told) == (newer.name, [])
    assert weights.keys() == newer.weights.keys()


def test_first_values_of_a_checkpoint_that_is_removed_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replaced_as_it_is_read(run, monkeypatch, "load_checkpoint")
    name = "conv1.weight"
    tensor = newer.weights[name]
    layer = name.partition(".")[0]
    value = InitialValue(
        name,
        tuple(tensor.shape),
        layer,
        "conv",
        Piece.WEIGHTS,
        index=0,
        parts=1,
        source=Copied(str(run), (layer,)),
        spelling="initWFunc",
        span=Span(SourceFile("net.cfg", "[a]"), 0, 1),
    )
    net = torch.nn.Module()
    net.register_module(layer, torch.nn.Module())
    getattr(net, layer).weight = torch.nn.Parameter(torch.zeros_like(tensor))
    told: list[Diagnostic] = []
    set_initial_values(net, [value], "", told.append)
    assert told == []
    assert torch.equal(net.state_dict()[name], tensor)


def test_the_state_of_a_checkpoint_that_is_removed_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replaced_as_it_is_read(run, monkeypatch, "_read_state")
    state = newest_state(run / "checkpoints")
    assert state is not None
    assert state["epoch"] == newer.state["epoch"]


def test_a_checkpoint_that_was_asked_for_and_is_removed_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [*_, newest] = list_checkpoints(run / "checkpoints")
    read = load_checkpoint

    def too_late(path: Path) -> Checkpoint:
        shutil.rmtree(path)
        return read(path)

    monkeypatch.setattr("convspec.train.saved.load_checkpoint", too_late)
    with pytest.raises(DiagnosticError, match=f"CS719: .* has no checkpoint {newest.name} any more"):
        read_run(run, checkpoint=newest.name, notify=lambda diagnostic: None)


def test_a_broken_checkpoint_gives_way_to_the_one_before(run: Path) -> None:
    older, newest = list_checkpoints(run / "checkpoints")
    (newest / "weights.safetensors").write_bytes(b"spoilt")
    told: list[Diagnostic] = []
    assert open_trained(run, device="cpu", notify=told.append).checkpoint == older.name
    assert [(d.code, d.severity) for d in told] == [("CS708", Severity.WARNING)]
    with pytest.raises(DiagnosticError, match=f"CS708.*{newest.name} cannot be used") as caught:
        open_trained(run, device="cpu", checkpoint=newest.name)
    assert caught.value.diagnostics[0].help == f"name another: {older.name}"
    assert open_trained(run, device="cpu", checkpoint=older.name).checkpoint == older.name
    (older / "state.json").unlink()
    with pytest.raises(DiagnosticError, match="CS708: none of the 2 checkpoints"):
        open_trained(run, device="cpu")


def test_what_is_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"CS719: there is no run .*nowhere"):
        open_trained(tmp_path / "nowhere")
    with pytest.raises(DiagnosticError, match=r"CS719: .* is a file, not the folder"):
        open_trained(run / "spec.cfg")
    with pytest.raises(DiagnosticError, match=r"CS719: .* has no settings.json") as caught:
        open_trained(run / "checkpoints")
    assert caught.value.diagnostics[0].help == f"it lies in the run {run}"
    with pytest.raises(DiagnosticError, match=r"CS719: .* has no checkpoint 7") as caught:
        open_trained(run, checkpoint="7")
    assert "0002-00000030" in (caught.value.diagnostics[0].help or "")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(DiagnosticError, match=r"CS708: .* has no checkpoint yet"):
        open_trained(run)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["filters"], ["train", "--resume"]):
        for name in ("nowhere", "."):
            assert main([*arguments, str(tmp_path / name)]) == 2
            assert "CS719" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"7",
        b"\xff",
        b"[" * 100_000,
        b'{"classes": 3}',
        b'{"classes": ["\\ud800"]}',
        b'{"stored_shape": "8x8"}',
        b'{"stored_shape": [0, 8, 1]}',
        b'{"data": "\\ud800"}',
        b'{"data": "digits", "train_pictures": 9}',
        b'{"data": "digits", "train_pictures": "9", "test_pictures": 9}',
        b'{"log_every": -1}',
    ],
    ids=lambda content: repr(content[:70]),
)
def test_spoilt_settings(run: Path, content: bytes) -> None:
    (run / "settings.json").write_bytes(content)
    with pytest.raises(DiagnosticError, match=r"CS708: .*settings.json is not what was written"):
        open_trained(run, device="cpu")


def test_names_of_more_classes_than_there_are_outputs(run: Path) -> None:
    settings = json.loads((run / "settings.json").read_bytes())
    (run / "settings.json").write_text(json.dumps({**settings, "classes": [*settings["classes"], "ten"]}))
    with pytest.raises(
        DiagnosticError, match=r"CS708: .*settings.json names 11 classes, and the network tells 10 apart"
    ):
        open_trained(run, device="cpu")


def test_a_spec_that_was_edited(run: Path) -> None:
    spec = run / "resolved.cfg"
    text = spec.read_text()
    spec.write_text(text.replace("filters=4", "filters=5"))
    with pytest.raises(DiagnosticError, match=r"CS709: the weights of .* are not those of the network") as caught:
        open_trained(run, device="cpu")
    assert "conv1.weight" in caught.value.diagnostics[0].notes[0]
    spec.write_text(text.replace("filters=4", "filters=no"))
    with pytest.raises(DiagnosticError, match="CS204") as caught:
        open_trained(run, device="cpu")
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert span.file.name == str(spec)
    spec.unlink()
    with pytest.raises(DiagnosticError, match="CS101"):
        open_trained(run, device="cpu")


def test_an_output_that_is_no_layer_and_a_device_that_is_not_there(finished: Path) -> None:
    with pytest.raises(DiagnosticError, match="CS601"):
        open_trained(finished, device="cpu", outputs=["conv7"])
    with pytest.raises(DiagnosticError, match="CS710"):
        open_trained(finished, device="cuda:99")


def write_pictures(folder: Path, *classes: str, count: int = 2) -> None:
    from PIL import Image

    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((16, 16), 20 * number + i, np.uint8)).save(folder / name / f"{i}.png")


def test_other_data_are_known_by_the_names_of_their_classes(finished: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "some", "7", "2")
    dataset = open_trained(finished, device="cpu").open_data(str(tmp_path / "some"))
    assert dataset.shape == (8, 8, 1)  # as the digits were
    assert dataset.classes == tuple(map(str, range(10)))
    assert dataset.count(Split.TEST) == 4
    out = np.empty((4, 8, 8, 1), np.uint8)
    labels = dataset.read(Split.TEST, np.arange(4), epoch=0, out=out)
    assert {int(label): int(picture.max()) // 20 for label, picture in zip(labels, out, strict=True)} == {7: 0, 2: 1}
    dataset.close()

    write_pictures(tmp_path / "others", "7", "seven", "x")
    with pytest.raises(DiagnosticError, match=r"CS704: .* has class 'seven' and 1 more classes, which"):
        open_trained(finished, device="cpu").open_data(str(tmp_path / "others"))


def test_the_runs_own_folder_is_never_tested_as_a_whole(tmp_path: Path) -> None:
    """Nor under another name: most of its pictures were trained on."""
    write_pictures(tmp_path / "own", *"0123", count=5)
    (tmp_path / "own" / "2" / "3.png").write_bytes(b"broken")
    text = SPEC.replace("provider=digits", f"provider=folder\npath={tmp_path / 'own'}\nsize=8").replace("=10", "=4")
    train(compile_spec(text), run_dir=tmp_path / "run", display=SilentDisplay(), notify=lambda diagnostic: None)
    trained = open_trained(tmp_path / "run", device="cpu")
    shutil.copytree(tmp_path / "own", tmp_path / "moved")
    shutil.copytree(tmp_path / "own", tmp_path / "other")
    (tmp_path / "other" / "0" / "0.png").unlink()
    for name, count in (("own", 4), ("own/", 4), ("../" + tmp_path.name + "/own", 4), ("moved", 4), ("other", 18)):
        dataset = trained.open_data(f"{tmp_path}/{name}")
        assert dataset.count(Split.TEST) == count, name
        dataset.close()


def test_data_that_have_changed_since(run: Path) -> None:
    settings = json.loads((run / "settings.json").read_bytes())
    (run / "settings.json").write_text(json.dumps({**settings, "fingerprint": "another"}))
    told: list[Diagnostic] = []
    open_trained(run, device="cpu").open_data(notify=told.append).close()
    assert [(d.code, d.severity) for d in told] == [("CS709", Severity.WARNING)]


def test_a_run_is_gone_on_with_on_the_pictures_that_it_saw(tmp_path: Path) -> None:
    """One of an earlier version, which recorded the names alone, records all from then on."""
    data = tmp_path / "data"
    write_pictures(data, *"0123", count=5)
    text = SPEC.replace("provider=digits", f"provider=folder\npath={data}\nsize=8").replace("=10", "=4")
    train(compile_spec(text), run_dir=tmp_path / "run", display=SilentDisplay())
    settings = json.loads((tmp_path / "run" / "settings.json").read_bytes())
    _, layout = read_folder(str(data))
    names = layout.digest(repr(tuple(settings["stored_shape"])).encode())
    (tmp_path / "run" / "settings.json").write_text(json.dumps({**settings, "fingerprint": names}))
    told: list[Diagnostic] = []
    trained = open_trained(tmp_path / "run", device="cpu")
    trained.open_data(notify=told.append).close()
    assert not told
    train(compile_spec(text), resume=tmp_path / "run", display=SilentDisplay())
    assert json.loads((tmp_path / "run" / "settings.json").read_bytes()) == settings
    (data / "1" / "0.png").write_bytes((data / "2" / "0.png").read_bytes())
    with pytest.raises(DiagnosticError, match=r"CS709: .* was made on other pictures than .*data has now"):
        train(compile_spec(text), resume=tmp_path / "run", display=SilentDisplay())
    open_trained(tmp_path / "run", device="cpu").open_data(notify=told.append).close()
    assert [d.code for d in told] == ["CS709"]


class Sets(Dataset):
    name, shape, fingerprint = "sets", (1, 1, 1), ""
    classes = ("b", "c")

    def count(self, split: Split) -> int:
        return 2

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        return np.array([0, 1])

    def label_sets(self, split: Split, indices: Indices) -> Pictures:
        return np.array([[1, 0], [1, 1]], np.uint8)


def test_sets_of_labels_under_other_classes() -> None:
    dataset = Relabelled(Sets(), ["c", "a", "b"])
    assert dataset.read(Split.TEST, np.arange(2), epoch=0, out=np.empty((2, 1, 1, 1), np.uint8)).tolist() == [2, 0]
    assert dataset.labels(Split.TEST).tolist() == [2, 0]
    where = Augmentation.of(Split.TEST, np.arange(2), (0, 0), mirror=False, seed=0, epoch=0)
    out = np.empty((2, 1, 1, 1), np.uint8)
    assert dataset.read_crops(Split.TEST, np.arange(2), where, epoch=0, out=out).tolist() == [2, 0]
    sets = dataset.label_sets(Split.TEST, np.arange(2))
    assert sets is not None
    assert sets.tolist() == [[0, 0, 1], [1, 0, 1]]


def old_run(folder: Path, **options: object) -> Path:
    """A run of an old checkpoint that reads 3x8x8."""
    net = Net("ccn1")
    net.data("data", 0, 3 * 64)
    net.data("labels", 1, 1)
    net.fc("fc10", ["data"], 10)
    net.same("probs", ["fc10"], "softmax")
    net.cost("logprob", ["labels", "probs"])
    import_checkpoint(net.save(folder / "old", 1, 1, **options), folder / "run")
    return folder / "run"


def test_a_run_of_an_old_checkpoint_has_met_no_data(tmp_path: Path) -> None:
    trained = open_trained(old_run(tmp_path), device="cpu")
    assert (trained.classes, trained.data, trained.mean) == ((), None, None)
    with pytest.raises(DiagnosticError, match=r"CS701: .* tells of no data"):
        trained.open_data()
    with pytest.raises(DiagnosticError, match=r"CS701: .* has no mean image"):
        trained.inputs(3)
    dataset = trained.open_data("digits")
    trained.inputs(3, dataset)
    assert trained.mean_for(dataset).shape == (8, 8, 3)
    assert trained.mean_for(dataset).max() > 100


@pytest.mark.parametrize(
    ("provider", "value", "views"),
    [("image", 1, 10), ("image", True, 10), ("image", 0, 1), ("image", "1", 1), ("cifar-cropped", 1, 1)],
)
def test_an_old_checkpoint_says_how_many_views(tmp_path: Path, provider: str, value: object, views: int) -> None:
    """The option --multiview-test of the original programs; of matrices they took other views."""
    trained = open_trained(old_run(tmp_path, dp_type=provider, multiview_test=value), device="cpu")
    assert trained.compiled.data.views == views
