"""`convspec import`: a checkpoint of the original programs becomes a run that tests, resumes and fine-tunes.

The layers become a spec (`convspec.layers.restored`), the spec a program as any other, and the old matrices the weights
of that program by their canonical names, so that nothing after this knows where a run came from. What the old file does
not hold is left to the first `--resume`: the data, its mean, and the random numbers of dropout and augmentation.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from torch import Tensor

from convspec.checker import check
from convspec.compiler import Compiled, compile_checked
from convspec.data.dataset import Notify
from convspec.diagnostics import DiagnosticError, Severity
from convspec.emit.load import instantiate
from convspec.layers.restored import Misfit, Restored, restore
from convspec.train.checkpoint import Checkpoint, save_checkpoint, writing_to
from convspec.train.old_state import OldState, read_state, unlike
from convspec.train.old_weights import read_weights
from convspec.train.run import UNFINISHED, RunFolder
from convspec.train.schedules import Plateau

NAME = "ConvNet"
"""What the originals call every network."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it. program: that saved the checkpoint. layers: how many; numbers: that learn. epochs, share: as in
    OldState."""

    run_dir: Path
    program: str
    layers: int
    numbers: int
    epochs: int
    share: float
    is_finished: bool


def import_checkpoint(
    path: str | Path, run_dir: str | Path, *, overrides: Sequence[str] = (), notify: Notify = lambda diagnostic: None
) -> Imported:
    """Make the run `run_dir` of the checkpoint at `path`, a file or a folder of them.

    overrides: `fc8.epsW=0.001`, `@train.epochs=120`, as `--set`: what a run is to do otherwise than before.

    Raises DiagnosticError: CS101, CS720 and CS721 for what is no checkpoint of the originals, CS722 for weights that do
    not fit their layers, CS706 for a folder that is not free, and whatever `check` finds in the layers.
    """
    state = read_state(Path(path))
    restored = _restored(state)
    compiled = _compile(state, restored, overrides)
    weights, momentum = read_weights(state, restored, compiled.program, notify)
    checkpoint = _checkpoint(state, compiled, weights, momentum)
    run = RunFolder.create(compiled.name, run_dir=run_dir)
    unfinished = run.path / UNFINISHED
    try:
        # in this order: a folder is a run only once it has the weights that it was made for
        save_checkpoint(unfinished, checkpoint, keep=1)
        with writing_to(run.checkpoints):
            unfinished.rename(run.checkpoints)
        run.describe(compiled, {"name": compiled.name, "data": None, "fingerprint": None, "log_every": None})
    except BaseException:
        for folder in (unfinished, run.checkpoints):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        run.close()
    return Imported(
        run_dir=run.path,
        program=restored.dialect.program,
        layers=len(restored.layers),
        numbers=sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
        epochs=state.epochs,
        share=state.share,
        is_finished=checkpoint.state["finished"],
    )


def _restored(state: OldState) -> Restored:
    try:
        return restore(state.layers)
    except Misfit as error:
        raise unlike(state.path, str(error), error.help) from None


# the spec


def spec_text(state: OldState, restored: Restored) -> str:
    """The network as a one-file spec, with what the options of the old run tell of training and data."""
    net: dict[str, object] = {
        "name": NAME,
        "dialect": restored.dialect.name,
        "input": restored.input,
        "classes": restored.classes,
    }
    train: dict[str, object] = {
        "batch": state.number("minibatch_size") or 128,
        "epochs": state.number("num_epochs") or max(1, state.epochs + (state.share > 0)),
        "schedule": "spec",
    }
    sections: dict[str, dict[str, object]] = {"@net": net, "@train": train, "@data": _data(state)}
    given = {name: {key: value for key, value in keys.items() if value} for name, keys in sections.items()}
    blocks = [f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in keys.items()) for name, keys in given.items() if keys]
    return "\n".join([*blocks, restored.sections])


def _data(state: OldState) -> dict[str, object]:
    """Which batches there were for training and for testing; where they lay is a matter of `--data`."""
    old = state.options.get("dp_type")
    if not isinstance(old, str):
        return {}
    is_jpeg = old == "image" or old.endswith("jpeg")
    if not is_jpeg and not old.startswith("cifar"):
        return {}
    numbers = {which: _ranges(state.batches(which)) for which in ("train", "test")}
    noise = state.options.get("color_noise")
    has_noise = is_jpeg and isinstance(noise, float) and 0 < noise < inf
    # with the noise, both programs divide by 1 plus its strength
    colors = {"colorNoise": noise, "colorScale": 1} if has_noise else {}
    # of matrices cuda-convnet2 took nine other views, without mirror images
    views = {"views": 10} if is_jpeg and state.options.get("multiview_test") in (1, True) else {}
    return {"provider": "jpeg" if is_jpeg else "cifar", **numbers, **colors, **views}


def _ranges(numbers: Sequence[int]) -> str:
    """`1-5,7` for 1, 2, 3, 4, 5, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _compile(state: OldState, restored: Restored, overrides: Sequence[str]) -> Compiled:
    """Compile the spec with its overrides in its text, so that a run has one spec and not two."""
    checked = check(spec_text(state, restored), overrides=overrides)
    if checked.ok:
        checked = check(checked.resolved_text)
    try:
        return compile_checked(checked)
    except DiagnosticError as error:
        mistakes = [d for d in error.diagnostics if d.severity is Severity.ERROR]
        raise DiagnosticError(*unlike(state.path, "its layers make no network").diagnostics, *mistakes) from None


# the checkpoint


def _checkpoint(
    state: OldState, compiled: Compiled, weights: Mapping[str, Tensor], moves: Mapping[str, Tensor]
) -> Checkpoint:
    """As the trainer saves it at the end of a step, without what the old program did not keep."""
    epochs = compiled.train.epochs
    progress = min(1.0, (state.epochs + state.share) / epochs)
    rates = {
        block.name: parameter.update.rate.rate(progress) or parameter.update.rate.base
        for parameter in compiled.program.parameters
        for block in parameter.blocks
        if block.name in moves and not parameter.update.rate.is_frozen
    }
    net = instantiate(compiled.source, compiled.name)
    net.load_state_dict(dict(weights))
    return Checkpoint(
        weights={name: tensor.detach().clone() for name, tensor in net.state_dict().items()},
        # the buffers of torch's rule, b with v = -rate b
        training={f"momentum/{name}": moves[name] / -rate for name, rate in rates.items()},
        state={
            "epoch": state.epochs,
            "step": 0,
            "step_in_epoch": 0,
            "share_of_epoch": state.share,
            "finished": state.epochs >= epochs,
            "best_error": None,
            "epoch_sums": [0.0] * (2 + len(compiled.program.costs)),
            "plateau": Plateau().state(),
            "momentum_rates": rates,
            "metrics_lines": 0,
            "made_with": {},
        },
    )
