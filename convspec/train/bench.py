"""How fast a compiled network trains and predicts, beside the same network written plainly in PyTorch.

The plain network is the spec layer by layer and tower by tower: nothing merged, nothing fused, `F.local_response_norm`
and `F.max_pool2d` on NCHW maps, `torch.optim.SGD` as it comes. Ours is what `convspec train` runs. Both have the same
weights and batch; before anything is timed their outputs are compared. All variants take turns, round after round in
one process, so that a neighbour's load falls on each of them, and a ratio is the median of the ratios of the rounds.

On a GPU a round is as many steps as last a quarter of a second, and the host waits for it at the end alone, as in
training; cuDNN chooses its algorithms by trying them, for all variants.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from convspec.checker import Checked
from convspec.compiler import Compiled, compile_checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.graph.lower import lower
from convspec.passes.fuse_costs import fuse_costs
from convspec.passes.pipeline import run_passes
from convspec.passes.remove_identities import remove_identities
from convspec.passes.remove_unread import remove_unread
from convspec.program.moves import Input
from convspec.program.program import Program
from convspec.train.device import chosen_convolutions
from convspec.train.inputs import IMAGES, label_capacity
from convspec.train.optimizer import PaperSGD
from convspec.train.preparation import check_batches, check_trainable
from convspec.train.replay import Replay, recorder_for
from convspec.train.team import ALONE
from convspec_kernels.gpu_clock import clocks

PLAIN, PLAIN_COMPILED, OURS, OURS_COMPILED = "plain", "plain, torch.compile", "convspec", "convspec, torch.compile"
OURS_RECORDED = "convspec, CUDA graphs"
ROUND_SECONDS, MOST_STEPS = 0.25, 200
_OF_SPREAD, _OF_LARGEST = 1e-2, 1e-5
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one variant. seconds: median over the rounds. faster: how many times as fast as the plain network.
    utilisation: share of the arithmetic that the device's convolutions reach (`peak_flops`).
    extra_bytes: most memory that it took at once beyond what is held between steps; None where nobody can tell, and of
    recordings, which hold theirs."""

    name: str
    seconds: float
    images_per_second: float
    faster: float
    utilisation: float
    extra_bytes: int | None


@dataclass(frozen=True, slots=True)
class Bench:
    """train: whole steps, forward, backward and update. predict: forward alone, in evaluation mode. notes: what is not what
    it seems, a sentence each."""

    train: tuple[Timing, ...]
    predict: tuple[Timing, ...]
    peak_flops: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Variant:
    name: str
    net: nn.Module
    forward: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    update: Callable[[], None]
    inputs: dict[str, Tensor]


def device_name(device: torch.device) -> str:
    """As a table of results names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def of_gpu() -> dict[str, object]:
    """What the figures of a GPU depend on; its clocks are those of when it has just been busy."""
    backends = torch.backends
    tf32 = {"convolutions": backends.cudnn.allow_tf32, "products": backends.cuda.matmul.allow_tf32}
    return {
        "CUDA": torch.version.cuda or torch.version.hip,
        "cuDNN": backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "TF32": " and ".join(name for name, is_allowed in tf32.items() if is_allowed) or "nowhere",
        "cuDNN's algorithms": "tried",
        **clocks(),
    }


@chosen_convolutions()
def bench(
    checked: Checked,
    *,
    batch: int,
    device: torch.device,
    is_bf16: bool = False,
    with_compile: bool = False,
    rounds: int = 7,
    say: Callable[[str], None] = lambda text: None,
) -> Bench:
    """Time a network without errors on random images. `say` is told what is being done.

    Raises DiagnosticError where the network cannot be compiled or trained, and RuntimeError where the two networks disagree.
    """
    # what is measured starts from drawn weights: no function of a spec is called
    compiled = compile_checked(checked, allow_init_imports=True)
    check_trainable(compiled.program)
    check_batches(compiled.program, 2 * batch, batch)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_bf16)
    variants = _variants(checked, compiled, batch, device, with_compile)
    _check_agreement(variants)
    say("measuring how fast the device computes convolutions")
    peak = peak_flops(device, torch.bfloat16 if is_bf16 else torch.float32)
    macs = {row.name: row.macs for row in checked.layers}
    from_images = sum(row.macs for row in checked.layers if _reads_images(checked, row.name))
    forward_flops = 2.0 * batch * sum(macs.values())
    step_flops = 3 * forward_flops - 2.0 * batch * from_images
    steps = {variant.name: _step(variant, autocast) for variant in variants}
    notes: list[str] = []
    recorder = recorder_for(compiled.program, [device], ALONE, notes.append)
    if recorder is not None:
        ours = next(variant for variant in variants if variant.name == OURS)
        replay = Replay(compiled.program, ours.net, autocast, recorder, cases=batch, say=notes.append)
        steps[OURS_RECORDED] = _recorded_step(ours, replay, steps[OURS])
    predictions = {variant.name: _prediction(variant, autocast) for variant in variants}
    return Bench(
        _timings("training", steps, rounds, batch, step_flops / peak, device, say),
        _timings("prediction", predictions, rounds, batch, forward_flops / peak, device, say),
        peak,
        tuple(notes),
    )


def plain_program(checked: Checked) -> Program:
    """The network as the spec says it: no towers merged, nothing fused but softmax and its cost, as `F.cross_entropy` is."""
    program = lower("plain", checked.graph, checked.shapes, checked.placement, ())
    passes = (remove_identities, fuse_costs, remove_unread)
    return run_passes(program, passes, after=lambda name, program: None)


def plain_source(checked: Checked) -> str:
    """Source of the plain network."""
    source = emit(plain_program(checked), checked.document.file.name)
    return source.replace("from convspec_kernels import", "from convspec.train.plain import")


def _variants(
    checked: Checked, compiled: Compiled, batch: int, device: torch.device, with_compile: bool
) -> list[_Variant]:
    inputs = random_inputs(compiled.program, batch, device)
    last = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in inputs.items()
    }
    ours = instantiate(compiled.source, compiled.name).to(device)
    plain = instantiate(plain_source(checked), "plain").to(device)
    plain.load_state_dict(ours.state_dict())
    optimizer = PaperSGD(compiled.program, ours)
    optimizer.set_rates(0.0)
    plain_optimizer = torch.optim.SGD(plain.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def update() -> None:
        optimizer.step(0)
        optimizer.zero_grad()

    def update_plain() -> None:
        plain_optimizer.step()
        plain_optimizer.zero_grad()

    variants = [_Variant(PLAIN, plain, plain, update_plain, inputs), _Variant(OURS, ours, ours, update, last)]
    if with_compile:
        compiled_plain, compiled_ours = torch.compile(plain, dynamic=False), torch.compile(ours, dynamic=False)
        variants.insert(1, _Variant(PLAIN_COMPILED, plain, compiled_plain, update_plain, inputs))
        variants.append(_Variant(OURS_COMPILED, ours, compiled_ours, update, last))
    return variants


def random_inputs(program: Program, batch: int, device: torch.device) -> dict[str, Tensor]:
    """Images of N(0, 1), labels that are classes, and targets in [0, 1), by data layer."""
    classes = label_capacity(program) or 1
    return {op.name: _random_input(op, program, classes, batch).to(device) for op in program.inputs}


def _random_input(op: Input, program: Program, classes: int, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(op.data_index)
    if op.name in program.class_inputs:
        return torch.randint(0, classes, (batch,), generator=generator)
    draw = torch.randn if op.data_index == IMAGES else torch.rand
    return draw(batch, *op.shape.dims, generator=generator)


def _check_agreement(variants: Sequence[_Variant]) -> None:
    """Every variant gives what the first one gives, in fp32 and not TF32: they compute the same network.

    A network with its first weights says nearly the same of every image, so that errors are measured by how much its
    outputs differ among themselves.
    """
    expected: dict[str, Tensor] = {}
    for variant in variants:
        variant.net.eval()
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            outputs = variant.net(variant.inputs)
        expected = expected or outputs
        for name, wanted in expected.items():
            error = (outputs[name] - wanted).abs().max()
            spread = wanted.std() if wanted.numel() > 1 else torch.zeros(())
            if error > _OF_SPREAD * spread + _OF_LARGEST * wanted.abs().max():
                raise RuntimeError(f"{name} of {variant.name} differs by {error:.2g} from that of {variants[0].name}")


def _step(variant: _Variant, autocast: torch.autocast) -> Callable[[], object]:
    def step() -> None:
        variant.net.train()
        with autocast:
            objective: Tensor = variant.net.objective(variant.forward(variant.inputs))  # type: ignore[operator]
        objective.backward()  # type: ignore[no-untyped-call]
        variant.update()

    return step


def _recorded_step(variant: _Variant, replay: Replay, step: Callable[[], object]) -> Callable[[], object]:
    """step: what it is where it is not replayed."""

    def recorded_step() -> None:
        variant.net.train()
        if replay(variant.inputs, next(map(len, variant.inputs.values()))) is None:
            step()
        else:
            variant.update()

    return recorded_step


def _prediction(variant: _Variant, autocast: torch.autocast) -> Callable[[], object]:
    def predict() -> object:
        variant.net.eval()
        with torch.no_grad(), autocast:
            return variant.forward(variant.inputs)

    return predict


def _timings(
    what: str,
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    batch: int,
    ideal_seconds: float,
    device: torch.device,
    say: Callable[[str], None],
) -> tuple[Timing, ...]:
    """Each variant in turn, `rounds` times after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    steps: dict[str, int] = {}
    for name, run in runs.items():
        say(f"{what}, to warm up: {name}")
        steps[name] = _warmed_up(run, device)
    for round_ in range(1, rounds + 1):
        for name, run in runs.items():
            say(f"{what}, round {round_} of {rounds}: {name}")
            seconds[name].append(_seconds(run, device, steps[name]))
    first = seconds[next(iter(runs))]
    return tuple(
        Timing(
            name,
            median(own),
            batch / median(own),
            median(plain / mine for plain, mine in zip(first, own, strict=True)),
            ideal_seconds / median(own),
            None if name == OURS_RECORDED else extra_memory(runs[name], device),
        )
        for name, own in seconds.items()
    )


def extra_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a run takes at most beyond what is taken when it begins: by torch's count on a GPU, else by Linux's.
    None where neither counts. What the C library keeps for later is given back before, or a run would seem to need none."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if _CLEAR.exists() else None
    if trim is None:
        return None
    trim(0)
    _CLEAR.write_text("5")  # the peak becomes what is resident now (proc(5))
    before = _resident("VmRSS")
    run()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) << 10


def _warmed_up(run: Callable[[], object], device: torch.device) -> int:
    """How many runs make a round, once it is compiled and recorded, and the device awake."""
    first = _seconds(run, device)
    if device.type == "cpu":
        return 1
    usual = min(first, *(_seconds(run, device) for _ in range(3)))
    return max(1, min(MOST_STEPS, round(ROUND_SECONDS / usual)))


def _seconds(run: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Of one of so many runs, the last of which is waited for."""
    _synchronize(device)
    began = time.perf_counter()
    for _ in range(times):
        run()
    _synchronize(device)
    return (time.perf_counter() - began) / times


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second, a multiply-add being two, of the fastest of a convolution (3x3 over 384x13x13 maps of 32 or
    256 images, the paper's fourth) and a matrix product (4096 or 8192 a side). TF32 is as torch has it set."""
    cases, side = (256, 8192) if device.type == "cuda" else (32, 2048)
    maps = torch.randn(cases, 384, 13, 13, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernels = torch.randn(384, 384, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    runs: list[tuple[float, Callable[[], object]]] = [
        (2.0 * cases * 384 * 13 * 13 * 384 * 9, lambda: nn.functional.conv2d(maps, kernels, padding=1)),
        (2.0 * side**3, lambda: left @ right),
    ]
    times = 1 if device.type == "cpu" else 20
    return max(flops / min(_seconds(run, device, times) for _ in range(6)) for flops, run in runs)


def _reads_images(checked: Checked, name: str) -> bool:
    """Whether a layer's inputs are data alone, which need no gradient."""
    inputs = checked.graph.layers[name].input_names
    return bool(inputs) and all(not checked.graph.layers[source].input_names for source in inputs)
