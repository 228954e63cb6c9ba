"""A compiler for convolutional networks in the layer files of cuda-convnet, the language AlexNet was written in.

    import convspec

    checked = convspec.check("specs/alexnet.cfg")
    checked.ok, checked.diagnostics, checked.layers

    source = convspec.compile("specs/alexnet.cfg")              # text of a PyTorch module
    net = convspec.load("specs/alexnet.cfg", outputs=("fc7a",))  # the nn.Module itself
    net.eval()({"data": images})["fc7a"]

    convspec.load("specs/alexnet.cfg", devices=("cuda:0", "cuda:1"))  # on the two GPUs that it names

These names, and what `Checked`, `LayerSummary` and `Diagnostic` hold, are stable.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without what typing takes to import: see __getattr__
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Literal

    import torch  # noqa: TID251 - for its names in annotations alone

    from convspec.checker import Checked, check
    from convspec.diagnostics import Diagnostic, DiagnosticError

__version__ = "0.1.0"
__all__ = ["Checked", "Diagnostic", "DiagnosticError", "check", "compile", "load"]

_HOMES = {
    "Checked": "convspec.checker",
    "check": "convspec.checker",
    "Diagnostic": "convspec.diagnostics",
    "DiagnosticError": "convspec.diagnostics",
}


def __getattr__(name: str) -> object:
    """Names of other modules, imported when they are first asked for: the program begins here, and is to hear Ctrl-C."""
    if name not in _HOMES:
        raise AttributeError(f"module 'convspec' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def compile(
    layers: str | os.PathLike[str],
    params: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Sequence[int]] | None = None,
    classes: int | None = None,
    overrides: Sequence[str] = (),
    dialect: str | None = None,
    outputs: Sequence[str] = (),
    allow_init_imports: bool = False,
    target: Literal["folded", "devices", "spmd"] = "folded",
) -> str:
    """Python source of a network: a module that depends on torch and convspec_kernels alone.

    The arguments are those of `check`; `outputs` names layers that `forward` gives beside the costs and what they judge.
    allow_init_imports: take a spec whose `initWFunc` names code of its author's; nothing is imported here, and the module
    draws its initial weights. target: what it is for, one device, the GPUs that the spec names, or a process for each of
    these (docs/placement.md). Raises DiagnosticError, which holds every diagnostic, where the network has errors, and
    ValueError for another target.
    """
    from convspec.compiler import compile_spec
    from convspec.passes.pipeline import Target

    return compile_spec(
        layers,
        params,
        inputs=inputs,
        classes=classes,
        overrides=overrides,
        dialect=dialect,
        outputs=outputs,
        allow_init_imports=allow_init_imports,
        target=Target.named(target),
    ).source


def load(
    layers: str | os.PathLike[str],
    params: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Sequence[int]] | None = None,
    classes: int | None = None,
    overrides: Sequence[str] = (),
    dialect: str | None = None,
    outputs: Sequence[str] = (),
    allow_init_imports: bool = False,
    target: Literal["folded", "devices", "spmd"] | None = None,
    device: torch.device | str | None = None,
    devices: Sequence[torch.device | str] = (),
    dtype: torch.dtype | None = None,
) -> torch.nn.Module:
    """The network as an `nn.Module` with initial weights drawn from torch's generator.

    `forward` takes a dict of tensors by data layer, images (N, C, H, W), labels (N,) int64 or targets (N, outputs), and
    returns a dict with what the costs judge, (N, outputs), the costs (scalars, where their labels or targets are given)
    and the layers named in `outputs`. `objective` of that dict is the sum of coeff times cost, which training makes small.
    target: as in `compile`; None for "devices" where `devices` names several, else "folded".
    device: where all of it is. devices: in place of it, for target devices, one for each GPU of the spec in ascending
    order; without either the module is on torch's default device, and its `place` moves each layer to its own.
    Of target spmd it is the part of this process, which has joined as many as there are GPUs
    (`torch.distributed.init_process_group`); its `objective` is that part's share, and its `backward` the whole network's.

    Otherwise as `compile`. Raises DiagnosticError also where torch is not installed (CS801), and where devices or processes
    are not those of the spec (CS710, CS750, CS753); ValueError where target, device and devices are at odds.
    """
    from convspec.compiler import compile_spec
    from convspec.passes.pipeline import Target

    names = _device_names(devices)
    chosen = Target.named(target or ("devices" if len(names) > 1 else "folded"))
    if names and device is not None:
        raise ValueError("device names one device and devices several: give one of them")
    if len(names) > 1 and chosen is not Target.DEVICES:
        raise ValueError(f"target {chosen.value!r} runs on one device, and devices names {len(names)}")
    compiled = compile_spec(
        layers,
        params,
        inputs=inputs,
        classes=classes,
        overrides=overrides,
        dialect=dialect,
        outputs=outputs,
        allow_init_imports=allow_init_imports,
        target=chosen,
    )
    from convspec.diagnostics import Diagnostic, DiagnosticError

    try:
        from convspec.train.instances import instance
    except ModuleNotFoundError as error:
        raise DiagnosticError(
            Diagnostic("CS801", f"{error.name} is not installed", help='pip install "convspec[train]"')
        ) from None
    return instance(compiled, chosen, names or ([] if device is None else [str(device)]), dtype)


def _device_names(devices: Sequence[torch.device | str]) -> Sequence[str]:
    if isinstance(devices, str):
        raise ValueError(f"devices is a sequence of devices, such as ('cpu', 'cpu'), not {devices!r}")
    return [str(device) for device in devices]
