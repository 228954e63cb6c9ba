"""Commands that a launcher started in several processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from convspec.cli.messages import exit_code, print_diagnostics
from convspec.diagnostics import DiagnosticError
from convspec.launch import SECONDS_TO_SPEAK, Launch


@contextmanager
def failing_openly(launch: Launch | None) -> Iterator[None]:
    """Around what a process does before it joins the others: where it fails, they need not wait for it.

    What all fail at alike, such as a mistake in the spec, is said once on each machine.
    """
    try:
        yield
    except DiagnosticError as error:
        if launch is None:
            raise
        from convspec.train.meeting import is_said_elsewhere
        from convspec.train.signals import heed_no_more

        problem = "".join(map(repr, error.diagnostics))
        if is_said_elsewhere(launch, hashlib.sha256(problem.encode()).hexdigest()):
            heed_no_more()
            time.sleep(SECONDS_TO_SPEAK)
        else:
            print_diagnostics(error.diagnostics)
        raise click.exceptions.Exit(exit_code(error.diagnostics)) from None
