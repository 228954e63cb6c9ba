"""The command line: one module a command, imported when it is called, so that `check` starts without torch.

Exit codes: 0 clean, 1 the spec or the run has errors, 2 wrong usage or a file that is not there, 130 interrupted.
Standard output is the result, standard error is progress and, where the result is something else, diagnostics.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper

import click

from convspec.cli.messages import exit_code, print_diagnostics
from convspec.collector import collector_at_rest
from convspec.diagnostics import Diagnostic, DiagnosticError

COMMANDS = (
    "ablate",
    "bench",
    "check",
    "compare",
    "compile",
    "completion",
    "data",
    "diff",
    "doctor",
    "explain",
    "features",
    "filters",
    "fmt",
    "import",
    "new",
    "plan",
    "predict",
    "report",
    "show",
    "similar",
    "test",
    "train",
)
_MODULES = {"import": "import_checkpoint"}
NAME = "convspec"
# The variable by which a shell asks for completions; `convspec completion` prints the script that sets it.
COMPLETE = "_CONVSPEC_COMPLETE"
INTERRUPTED = 130


class _Commands(click.Group):
    """Finds a command's module by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with collector_at_rest():
            command = import_module(f"convspec.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from convspec.diagnostics import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            hint = did_you_mean(args[0], COMMANDS) or f"commands are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command '{args[0]}': {hint}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from convspec import __version__

        click.echo(f"convspec {__version__}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def group() -> None:
    """Check, compile and train convolutional networks written as cuda-convnet layer files.

    \b
    convspec check specs/alexnet.cfg      what every layer is, or every mistake
    convspec show specs/alexnet.cfg       a picture of the network
    convspec compile specs/alexnet.cfg    a readable PyTorch module
    convspec train specs/alexnet.cfg      a trained network
    convspec test runs/alexnet            how well it does
    convspec new my --from alexnet        a variant of your own

    Exit codes: 0 clean, 1 the spec or the run has errors, 2 wrong usage or a file that is not there, 130 interrupted.
    Standard output is the result; progress, notes and warnings go to standard error. NO_COLOR is honoured.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code. No exception leaves it but those of our own mistakes."""
    _ready_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has left.
        _discard_output()
        return 1
    except UnicodeEncodeError as error:
        if sys.getfilesystemencoding() == "utf-8":
            raise
        return _report_unspeakable(error)
    except OSError as error:
        return _report_refusal(error)


def _run(arguments: list[str] | None) -> int:
    try:
        code = group.main(arguments, prog_name=NAME, complete_var=COMPLETE, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except DiagnosticError as error:
        print_diagnostics(error.diagnostics)
        return exit_code(error.diagnostics)
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort) as error:
        # click raises its own from Ctrl-C; what follows is said in its arguments (`messages.interrupted_saying`)
        interrupt = error.__cause__ or error
        click.echo(": ".join(["interrupted", *map(str, interrupt.args)]), err=True)
        return INTERRUPTED
    except (MemoryError, RuntimeError, ValueError) as error:
        found = _of_the_machine(error)
        if found is None:
            raise
        print_diagnostics([found])
        return exit_code([found])


def _of_the_machine(error: Exception) -> Diagnostic | None:
    """What torch and kernels raise from anywhere for want of something; None for a mistake of ours."""
    from convspec.train.memory import lacks_memory

    if lacks_memory(error):
        help = "lower batch= under [@train] (--batch of bench), or use a machine or GPU that has more"
        return Diagnostic("CS718", "the memory does not suffice for this network and minibatch", help=help)
    if "can't start new thread" in str(error):
        help = "end other processes, or raise what this one may have: ulimit -u, ulimit -v, the limits of its container"
        return Diagnostic("CS718", "the system lets this process start no more threads", help=help)
    if "convspec_kernels" in sys.modules:
        from convspec_kernels.dispatch import VARIABLE, ChoiceError

        if isinstance(error, ChoiceError):
            return Diagnostic("CS803", str(error), help=f"unset {VARIABLE}: then the fastest that can run is taken")
    return None


def _ready_streams() -> None:
    """Put nothing in the place of streams that were closed (`>&-`), before a file that is opened takes their numbers; and have
    letters that the encoding of the output lacks written as escapes, which Python does for standard error alone."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for the whole process
    if isinstance(sys.stdout, TextIOWrapper):
        with suppress(OSError):  # where something else was put in the place of the stream since it was opened
            sys.stdout.reconfigure(errors="backslashreplace")


def _report_refusal(error: OSError) -> int:
    """What the system refuses where nobody asked it first: a folder that may not be entered, a full disk under `>`."""
    reason = error.strerror or str(error)
    if error.filename is None and isinstance(error, FileNotFoundError):
        # the system was asked for the folder that the process is in
        message = "the folder that this was called in is gone: go to another one"
    elif error.filename is None:
        _discard_output()
        message = f"the output cannot be written: {reason}"
    else:
        message = f"{os.fsdecode(error.filename)} cannot be used: {reason}"
    try:
        print_diagnostics([Diagnostic("CS101", message)])
        sys.stderr.flush()
    except OSError:
        _discard_output()
    return 2


def _report_unspeakable(error: UnicodeEncodeError) -> int:
    """A name in a spec, which is UTF-8, where the system has names of files in an encoding that lacks some letter of it."""
    from convspec.diagnostics.visible import visible

    letter = error.object[error.start]
    message = (
        f"{visible(error.object)} cannot be a name here: {error.encoding}, in which names of files are, lacks {letter}"
    )
    help = "set PYTHONUTF8=1, or choose a locale of UTF-8, such as LC_ALL=C.UTF-8"
    print_diagnostics([Diagnostic("CS101", message, help=help)])
    return 2


def _discard_output() -> None:
    """Keep the interpreter from failing once more when it flushes what the streams still hold, as it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
