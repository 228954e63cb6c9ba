"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.layers.dialects import NAMES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from convspec.checker import Checked

_Command = Callable[..., Any]


def named(text: str) -> str:
    """The name of a file, a folder or a layer. An empty one is mostly a variable of a shell that was not set."""
    if not text:
        raise click.BadParameter("it is empty")
    return text


class Given(NamedTuple):
    """The network that a command was given. `options` are the keywords of `check` and `compile_spec`.

    spec: empty where the command can do without, and nobody named one.
    """

    spec: str
    params: str | None
    options: Mapping[str, Any]

    @property
    def layers(self) -> str | Path:
        """The spec as `check` takes it: a name with a line end in it is that of a file all the same, and no text."""
        return as_path(self.spec)

    @property
    def parameters(self) -> str | Path | None:
        """The parameter file, likewise."""
        return None if self.params is None else as_path(self.params)

    def checked(self, **more: Any) -> Checked:
        """What `check` says of it."""
        from convspec.checker import check

        return check(self.layers, self.parameters, **self.options, **more)


def as_path(name: str) -> str | Path:
    """A name from the command line for `check`, which takes what has a line end in it for the text of a spec."""
    return Path(name) if "\n" in name else name


def spec_arguments(command: _Command, *, required: bool = True) -> _Command:
    """SPEC, --params, --set, --input, --classes, --dialect: what every command on a network takes, as one `Given`."""

    @wraps(command)
    def with_given(
        spec: str | None,
        params: str | None,
        overrides: tuple[str, ...],
        inputs: tuple[str, ...],
        classes: int | None,
        dialect: str | None,
        **rest: Any,
    ) -> Any:
        sizes = parse_inputs(inputs)
        options = {"inputs": sizes, "classes": classes, "overrides": overrides, "dialect": dialect}
        return command(Given(spec or "", params, options), **rest)

    result: _Command = with_given
    for decorate in (
        click.option("--dialect", type=click.Choice(NAMES), help="Language of the file; else it is recognised."),
        click.option("--classes", type=click.IntRange(min=1), help="Number of classes of the data."),
        click.option("--input", "inputs", multiple=True, metavar="NAME:CxHxW", help="Size of a data layer."),
        click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a key."),
        click.option(
            "--params",
            type=named,
            metavar="FILE",
            shell_complete=offering("specs"),
            help="Parameter file, if it is not beside the layer file.",
        ),
        click.argument("spec", type=named, required=required, shell_complete=offering("specs")),
    ):
        result = decorate(result)
    return result


allow_init_imports: Callable[[_Command], _Command] = click.option(
    "--allow-init-imports",
    is_flag=True,
    help="Let training import and run functions that initWFunc= and its like name.",
)


checkpoint_option: Callable[[_Command], _Command] = click.option(
    "--checkpoint", type=named, metavar="NAME", help="One of RUN's checkpoints; else its newest that is whole."
)

device_option: Callable[[_Command], _Command] = click.option(
    "--device", default="auto", type=named, metavar="DEVICE", help="cpu, cuda, cuda:1; else a GPU if there is one."
)

format_option: Callable[[_Command], _Command] = click.option(
    "--format", "form", type=click.Choice(["full", "json"]), default="full", help="For people, or JSON for programs."
)


def trained_options(command: _Command) -> _Command:
    """--checkpoint, --device: which weights of a run are used, and where."""
    return checkpoint_option(device_option(command))


def refuse_other_pictures(output: str | None) -> None:
    """Raises UsageError where a PNG would be written under the name of a picture of another kind."""
    kinds = (".svg", ".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
    if output is not None and output.lower().endswith(kinds):
        raise click.UsageError(f"{output}: pictures are written as PNG; name FILE.png and convert that")


def offering(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What a shell is offered for an argument: a function of `completing`, which is imported when a shell asks."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from convspec.cli import completing

        offers: dict[str, Callable[..., list[CompletionItem]]] = vars(completing)
        return offers[kind](context, parameter, incomplete)

    return offer


def parse_inputs(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`--input data:3x227x227` as sizes by name. Raises DiagnosticError with CS213."""
    from convspec.syntax.forms import INPUTS, ValueSyntaxError

    sizes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        try:
            sizes.update({binding.name: binding.dims for binding in INPUTS.parse(text)})
        except ValueSyntaxError:
            raise DiagnosticError(
                Diagnostic(
                    "CS213", f"--input {text or repr(text)} is no size", help="write --input data:3x227x227, say"
                )
            ) from None
    return sizes
