"""What a run is made from: data that fits the network, the mean, first weights; and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convspec.data import Dataset, Split, mean_image, open_dataset, statistics_of
from convspec.data.colors import ColorNoise
from convspec.data.dataset import Notify, center_crop
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.program.operators import parameters_of
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm
from convspec.train.contract import CompiledSpec, PictureOptions
from convspec.train.first_weights import draw_weights
from convspec.train.inherited import Inherited
from convspec.train.inputs import IMAGES, ONE_HOT, PictureStatistics, label_capacity, picture_shape
from convspec.train.team import ALONE, Team


def check_trainable(program: Program) -> None:
    """Raises DiagnosticError CS602 where no step would change anything, CS730 where no dataset has what it reads."""
    if not any(cost.coefficient for cost in program.costs):
        message = "the network has no cost layer with a coefficient, so there is nothing to train it by"
        raise DiagnosticError(Diagnostic("CS602", message, help="add a layer of type=cost.logreg with coeff=1"))
    if all(parameter.update.rate.is_frozen for parameter in program.parameters):
        message = "every learning rate of the network is 0, so there is nothing to train"
        raise DiagnosticError(Diagnostic("CS602", message, help="write epsW=0.01 and epsB=0.01 under [@params]"))
    below = [program.parameter[name] for name in _parameters_below_costs(program)]
    if all(parameter.update.rate.is_frozen for parameter in below):
        costs = ", ".join(cost.name for cost in program.costs if cost.coefficient)
        message = f"no layer below {costs} has anything to learn"
        raise DiagnosticError(Diagnostic("CS602", message, help="let the cost read what an fc or conv layer gives"))
    _check_inputs(program)


def _parameters_below_costs(program: Program) -> set[str]:
    """Parameters that the costs with a coefficient depend on."""
    below = {cost.name for cost in program.costs if cost.coefficient}
    found: set[str] = set()
    for op in reversed(program.operators):
        if op.name in below:
            below.update(op.inputs)
            found.update(parameters_of(op))
    return found


def _check_inputs(program: Program) -> None:
    for op in program.inputs:
        if op.data_index > ONE_HOT:
            message = f"{op.key} reads matrix {op.data_index} of the data, and there are 0 (pictures), 1 and 2 (labels)"
            raise DiagnosticError(Diagnostic("CS730", message, help=f"write dataIdx=0, 1 or 2 in {op.key}"))
    if all(op.data_index != IMAGES for op in program.inputs):
        message = "no layer of the network reads the pictures"
        raise DiagnosticError(Diagnostic("CS730", message, help="add a layer of type=data with dataIdx=0"))


def open_data(compiled: CompiledSpec, data: str | None, notify: Notify) -> Dataset:
    program = compiled.program
    return open_dataset(
        compiled.data,
        data=data,
        seed=compiled.train.seed,
        input_shape=picture_shape(program),
        classes=label_capacity(program),
        notify=notify,
    )


def check_batches(program: Program, images: int, batch: int) -> None:
    """Raises DiagnosticError CS715 where batch normalisation would have one number a feature."""
    norms = [op for op in program.operators if isinstance(op, BatchNorm) and op.shape.features == op.shape.channels]
    if not norms or (batch > 1 and images % batch != 1):
        return
    layer = norms[0].layers[0]
    which = "each minibatch has 1 image" if batch == 1 else f"the last minibatch of {images} images has 1 image"
    enough = next(size for size in range(max(batch, 2), images + 3) if images % size != 1)
    message = f"{which}, and {layer}, which gives {norms[0].shape}, needs 2 to know a variance"
    raise DiagnosticError(Diagnostic("CS715", message, help=f"write batch={enough} under [@train]"))


def initial_network(
    compiled: CompiledSpec, network: nn.Module | None, team: Team = ALONE, *, is_drawn: bool = True
) -> nn.Module:
    """What this process of `team` has of the emitted module, or `network` in its place, with first weights. is_drawn: False
    where a checkpoint has all of them, so that they need no value before."""
    if network is None:
        network = team.network(compiled)
        if is_drawn:
            draw_weights(network, team.part(compiled.program), compiled.train.seed)
        return network
    network.reset_parameters()  # type: ignore[operator]  # emitted modules have one
    return network


def statistics_of_input(compiled: CompiledSpec, dataset: Dataset, kept: Mapping[str, Tensor]) -> PictureStatistics:
    """What the run takes its training pictures to be. kept: what a checkpoint has, which wins; empty for a new run."""
    options = compiled.data
    has_colors = options.color_noise > 0 and dataset.shape[2] == 3
    shape = picture_shape(compiled.program)
    found = PictureStatistics.kept(kept, shape, with_colors=has_colors)
    if found is not None:
        return found
    _, height, width = shape
    if not has_colors:
        return PictureStatistics(center_crop(mean_image(dataset, options.mean), height, width))
    statistics = statistics_of(dataset)
    return PictureStatistics(center_crop(statistics.mean_by(options.mean), height, width), statistics.color_pca)


def color_noise(options: PictureOptions, statistics: PictureStatistics) -> ColorNoise | None:
    """As @data asks for it; None for none."""
    if not options.color_noise or statistics.color_pca is None:
        return None
    return ColorNoise.of(statistics.color_pca, options.color_noise, rescales=options.color_scale)


def note_grey(compiled: CompiledSpec, notify: Notify) -> None:
    """Say CS731 where colour noise is asked for and there are no colours."""
    channels, height, width = picture_shape(compiled.program)
    if compiled.data.color_noise > 0 and channels != 3:
        message = f"colorNoise={compiled.data.color_noise:g} does nothing: the network reads pictures without colours"
        help = f"write input=data:3x{height}x{width} under [@net] for colours, or colorNoise=0 under [@data]"
        notify(Diagnostic("CS731", message, help=help, severity=Severity.NOTE))


def describe_run(
    compiled: CompiledSpec, dataset: Dataset, log_every: int | None, inherited: Inherited | None = None
) -> dict[str, Any]:
    return {
        "name": compiled.name,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "stored_shape": list(dataset.shape),
        "input_shape": list(picture_shape(compiled.program)),
        "train_pictures": dataset.count(Split.TRAIN),
        "test_pictures": dataset.count(Split.TEST),
        "log_every": log_every,
        **({} if inherited is None else {"init": inherited.record()}),
    }


def made_with(devices: Sequence[torch.device]) -> dict[str, Any]:
    kinds = ",".join(device.type for device in devices)
    return {"torch": torch.__version__, "device": kinds, "threads": torch.get_num_threads()}


def note_other_machine(before: dict[str, Any], now: dict[str, Any], notify: Notify) -> None:
    changed = [f"{key} {before[key]} before, {now[key]} now" for key in now if before.get(key, now[key]) != now[key]]
    if changed:
        message = f"the results will not be the same to the last bit: {'; '.join(changed)}"
        notify(Diagnostic("CS709", message, severity=Severity.NOTE))
