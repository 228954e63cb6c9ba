"""What to do where the memory does not suffice: find the minibatch that does, by trying.

A model of memory would be as good as its picture of the allocators, of oneDNN's and cuDNN's work space and of what else
runs on the machine. Half the minibatch, and half of that, on the network as it stands, takes all of it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convspec.diagnostics import Diagnostic, DiagnosticError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def lacks_memory(error: BaseException) -> bool:
    """Whether Python, or torch on a GPU or the CPU, was refused memory. torch has no class of its own for the last."""
    is_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or is_torch


def fitting_minibatch(net: nn.Module, tensors: Mapping[str, Tensor], autocast: torch.autocast) -> int | None:
    """The largest half, quarter, ... of these inputs that a step has memory for; None if not even one case has.

    Buffers of momentum are allowed for. Called where nothing holds what the step that failed had made.
    """
    import torch

    size = min(len(tensor) for tensor in tensors.values())
    while size > 1:
        size //= 2
        net.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if _fits(net, {name: tensor[:size] for name, tensor in tensors.items()}, autocast):
            net.zero_grad(set_to_none=True)
            return size
    return None


def too_little_memory(batch: int, fitting: int | None, checkpoints: Path) -> DiagnosticError:
    """CS718. fitting: see `fitting_minibatch`."""
    kept = _kept(checkpoints)
    message = f"the memory does not suffice for a minibatch of {batch}"
    if fitting is None:
        help = "use a machine or GPU that has more, or a smaller network"
        return DiagnosticError(Diagnostic("CS718", f"{message}, and not for one of 1", notes=(kept,), help=help))
    help = f"write batch={fitting} under [@train], or --set @train.batch={fitting}, for a new run"
    return DiagnosticError(
        Diagnostic("CS718", f"{message}; one of {fitting} fits, as was tried just now", notes=(kept,), help=help)
    )


def too_little_memory_of_one(process: str, cases: int, checkpoints: Path) -> DiagnosticError:
    """CS718 for one of several processes. cases: that it has of a minibatch."""
    message = f"the memory of {process} does not suffice for its {cases} cases of a minibatch"
    help = (
        "write a smaller batch= under [@train] for a new run, or go on with twice as many processes, of half the cases"
    )
    return DiagnosticError(Diagnostic("CS718", message, notes=(_kept(checkpoints),), help=help))


def _kept(checkpoints: Path) -> str:
    return f"the checkpoints in {checkpoints} are whole; --resume goes on from them where there is more memory"


def _fits(net: nn.Module, tensors: Mapping[str, Tensor], autocast: torch.autocast) -> bool:
    import torch

    try:
        with autocast:
            objective: Tensor = net.objective(net(dict(tensors)))  # type: ignore[operator]  # emitted modules have one
        objective.backward()  # type: ignore[no-untyped-call]
        momentum = [torch.zeros_like(weight) for weight in net.parameters() if weight.requires_grad]
        del momentum
    except ValueError:  # batch normalisation of a single case
        return False
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return False
    return True
