"""The operators as torch's dispatcher has them: without its compiler, under `torch.func`, traced, and refused where they
have no derivative."""

from __future__ import annotations

import io
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from convspec_kernels import Noise, augment, bias_act_lrn_max_pool2d, dispatch
from tests.kernels.test_dispatch import run


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


X, BIAS = maps(3, 8, 9, 9), maps(8)


def layer(x: Tensor, bias: Tensor = BIAS) -> Tensor:
    return bias_act_lrn_max_pool2d(
        x, bias, "relu", size=5, alpha=0.5, beta=0.75, k=2.0, groups=2, kernel_size=3, stride=2
    )


def composed(x: Tensor, bias: Tensor = BIAS) -> Tensor:
    """The same in sight of autograd."""
    with mock.patch.dict("os.environ", CONVSPEC_KERNELS="reference"):
        return layer(x, bias)


EVERY_OPERATOR = """
import sys, torch
from convspec_kernels import Noise, augment, max_pool2d, random_rescale
x = torch.ones(1, 3, 8, 8, requires_grad=True)
max_pool2d(x, 3, 2).sum().backward()
random_rescale(x, 7, max_scale=1.25, training=True, noise=Noise.draw(), layer="a")
pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
zeros = torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, dtype=torch.bool), torch.zeros(1, 3), torch.zeros(3)
augment(pixels, *zeros, size=4)
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_no_operator_imports_torchs_compiler() -> None:
    assert run(EVERY_OPERATOR, CONVSPEC_KERNELS="eager").strip() == "[]"


def of_each_case(x: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.grad(lambda case: layer(case[None]).square().sum()))(x)


def expected_of_each_case(x: Tensor) -> Tensor:
    return torch.func.grad(lambda x: composed(x).square().sum())(x)


def bias_of_each_case(bias: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    gradient = torch.func.grad(lambda bias, case: function(case[None], bias).square().sum())
    return torch.func.vmap(gradient, in_dims=(None, 0))(bias, X)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_functional_transforms_see_through_it() -> None:
    expected = (
        torch.stack([composed(x[None])[0] for x in X]),
        torch.func.grad(lambda x: composed(x).square().sum())(X),
        bias_of_each_case(BIAS, composed),
        torch.func.jacrev(composed)(X[:1]),
    )
    computed = (
        torch.func.vmap(lambda x: layer(x[None])[0])(X),
        of_each_case(X),
        bias_of_each_case(BIAS, layer),
        torch.func.jacrev(layer)(X[:1]),
    )
    for result, wanted in zip(computed, expected, strict=True):
        torch.testing.assert_close(result, wanted)
        assert wanted.any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forward_mode_is_refused_and_no_constant() -> None:
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(layer, (X,), (X,))
    for primal, bias in ((True, False), (False, True)):
        with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
            layer(forward_ad.make_dual(X, X) if primal else X, forward_ad.make_dual(BIAS, BIAS) if bias else BIAS)


@pytest.mark.parametrize("transformed", [False, True])
def test_a_second_derivative_is_refused(transformed: bool) -> None:
    def first(x: Tensor) -> Tensor:
        if transformed:
            return torch.func.grad(lambda x: layer(x).sum())(x)
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        return gradient

    x = X.clone().requires_grad_()
    gradient = first(x)
    torch.testing.assert_close(gradient, torch.func.grad(lambda x: composed(x).sum())(X))
    with pytest.raises(RuntimeError, match="has no second derivative; float64 maps or CONVSPEC_KERNELS=reference do"):
        torch.autograd.grad(gradient.sum(), x)


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, y: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> None:
        return None


def test_a_gradient_that_is_not_there_is_passed_on() -> None:
    x, bias = X.clone().requires_grad_(), BIAS.clone().requires_grad_()
    gradients = torch.autograd.grad(NoGradient.apply(layer(x, bias)).sum(), (x, bias), allow_unused=True)  # type: ignore[no-untyped-call]
    assert gradients == (None, None)


class Calls(torch.utils._python_dispatch.TorchDispatchMode):
    """Which operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_the_backward_pass_is_one_operator() -> None:
    """No zeros are made for what nobody differentiates."""
    y = layer(X.clone().requires_grad_(), BIAS)
    gradient = torch.ones_like(y)
    with Calls() as calls:
        y.backward(gradient)
    ours = [name for name in calls.names if name != "aten.detach.default"]
    assert ours == ["convspec_kernels.bias_act_lrn_max_pool2d_backward.default"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_module_can_be_saved() -> None:
    traced = torch.jit.trace(layer, X)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    assert torch.equal(loaded(X + 1), layer(X + 1))


def test_a_compiler_that_gave_up_does_not_trace_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a function whose loop breaks the graph nothing is compiled but what it calls; the operator's insides must not be."""
    traced: list[bool] = []

    class Kernels:
        @staticmethod
        def fused_forward(x: Tensor, *_: object) -> tuple[Tensor, None]:
            traced.append(torch.compiler.is_compiling())
            return x.clone(), None

    monkeypatch.setattr(dispatch, "choose", lambda *_: Kernels)
    monkeypatch.setenv("CONVSPEC_KERNELS", "eager")

    def broken(x: Tensor) -> Tensor:
        for _ in range(2):
            torch._dynamo.graph_break()
            x = torch.ops.convspec_kernels.bias_act_lrn_max_pool2d(
                x, None, False, False, False, [0, 0, 0, 1, 0], [0.0, 0.0, 0.0], 0, 0
            )[0]
        return x

    torch.compiler.reset()
    torch.compile(broken, backend="eager")(X)
    assert traced == [False, False]


def test_what_is_written_over_is_known_to_be() -> None:
    """Autograd must notice that a tensor which it kept has other pictures in it."""
    offsets, mirrors = torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, dtype=torch.bool)
    given = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), offsets, mirrors, torch.zeros(1, 3), torch.zeros(3)
    pictures = augment(*given, size=4)
    weight = torch.ones(1, requires_grad=True)
    y = (pictures * weight).sum()
    augment(*given, size=4, out=pictures)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    with torch.inference_mode():
        augment(*given, size=4, out=augment(*given, size=4))


def test_what_draws_is_an_operator_as_torch_wants_it() -> None:
    torch.library.opcheck(torch.ops.convspec_kernels.draw_rescaling, (Noise.draw().seed, 10, 8, 1.25, "scaled"))
