"""Batch normalisation, at test and in training."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.layers.batchnorm import BatchNorm
from tests.interpreter.tape import Array, Pullback, Tape, interprets
from tests.interpreter.windows import as_maps


@interprets(BatchNorm)
def batch_norm(layer: BatchNorm, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Scale (x - mean) (variance + eps)^-1/2 + shift; mean and variance are constants at test, and functions of x in
    training, where they run: average + momentum (new - average), the variance over count - 1."""
    x = sources[0] if layer.channels is None else as_maps(sources[0], layer.channels)
    scale, shift, mean, variance, batches = (
        tape.parameter(f"{layer.name}.{leaf}")
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    )
    over = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]

    def of_channel(numbers: Array) -> Array:
        return numbers.reshape(-1, *[1] * (x.ndim - 2))

    if tape.in_training:
        new_mean, new_variance = x.mean(over), x.var(over)
        unbiased = new_variance * count / (count - 1)
        tape.buffers[f"{layer.name}.running_mean"] = mean + layer.momentum * (new_mean - mean)
        tape.buffers[f"{layer.name}.running_var"] = variance + layer.momentum * (unbiased - variance)
        tape.buffers[f"{layer.name}.num_batches_tracked"] = batches + 1
        mean, variance = new_mean, new_variance
    rate = of_channel((variance + layer.epsilon) ** -0.5)
    centred = x - of_channel(mean)
    normal = centred * rate

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_normal = gradient * of_channel(scale)
        of_x = of_normal * rate
        if tape.in_training:
            of_variance = (of_normal * centred).sum(over, keepdims=True) * -0.5 * rate**3
            of_mean = -(of_normal * rate).sum(over, keepdims=True)
            of_x = of_x + of_variance * 2 * centred / count + of_mean / count
        of_parameters = {
            f"{layer.name}.weight": (gradient * normal).sum(over),
            f"{layer.name}.bias": gradient.sum(over),
        }
        return [of_x], of_parameters

    return normal * of_channel(scale) + of_channel(shift), pull
