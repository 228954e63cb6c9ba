"""`convspec completion`: the script by which a shell completes what is typed."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Completion for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the script that completes commands, options, layer files and codes in SHELL.

    \b
    eval "$(convspec completion bash)"       in ~/.bashrc
    eval "$(convspec completion zsh)"        in ~/.zshrc
    convspec completion fish > ~/.config/fish/completions/convspec.fish
    """
    from click.shell_completion import get_completion_class

    from convspec.cli import COMPLETE, NAME, group

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(group, {}, NAME, COMPLETE).source())
    return 0
