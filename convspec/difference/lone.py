"""How a layer that the other network lacks is told of: what it is, where it stands, and whose twin it is."""

from __future__ import annotations

from collections.abc import Mapping

from convspec.diagnostics import joined
from convspec.difference.steps import Step, Steps
from convspec.difference.words import phrase


def described(steps: Steps, step: Step) -> str:
    """`response normalisation across maps (cmrnorm, size=5), behind {}, before {}`, to be filled in by `names_around`."""
    given = [
        f"{key.spelling}={step.values[key.spelling]}"
        for key in step.layer.keys.values()
        if _is_worth_saying(step, key.spelling)
    ]
    keys = ", ".join([step.kind, *given]).replace("{", "{{").replace("}", "}}")
    neuron = next((phrase(steps[name]) for name in steps.readers[step.name] if steps[name].layer is step.layer), "")
    what = f"{phrase(step)} ({keys})" + (f" with {neuron}" if neuron else "")
    reads, read_by = names_around(steps, step)
    if reads and read_by:
        return f"{what}, behind {{}}, before {{}}"
    return f"{what}, {'behind' if reads else 'before'} {{}}{{}}" if reads or read_by else f"{what}{{}}{{}}"


def _is_worth_saying(step: Step, spelling: str) -> bool:
    key = step.layer.keys[spelling.lower()]
    return spelling in step.values and step.layer.is_given(key.attribute) and not key.home.value.startswith("parameter")


def names_around(steps: Steps, step: Step) -> tuple[str, str]:
    """Names of the layers before and behind a layer."""
    behind = steps.readers[step.name]
    own = [name for name in behind if steps[name].layer is step.layer]
    behind = tuple(reader for name in own for reader in steps.readers[name]) or behind
    return joined(list(source_names(steps, step))), joined([steps[name].layer.name for name in behind])


def source_names(steps: Steps, step: Step) -> tuple[str, ...]:
    return tuple(dict.fromkeys(steps[name].layer.name for name in step.inputs))


def find_twin(steps: Steps, step: Step, paired: Mapping[str, str]) -> Step | None:
    """The layer of another tower that is like this one and has a counterpart."""
    depth = steps.depths[step.name]
    for other in steps.by_name.values():
        if (
            other.name in paired
            and steps.depths[other.name] == depth
            and (other.kind, other.shape, other.values) == (step.kind, step.shape, step.values)
            and step.inputs
        ):
            return other
    return None
