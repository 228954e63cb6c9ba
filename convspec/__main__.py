"""The program: `convspec`, and `python -m convspec`.

Ctrl-C can come while Python still imports the package. So nothing is imported up here, and `convspec` itself imports the
checker when it is first asked for it.
"""

INTERRUPTED = 130


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    try:
        _listen()
        from convspec.collector import collector_at_rest, leave_garbage

        with collector_at_rest():
            from convspec.cli import main as run
        code = run()
        _end_if_launched(code)
        leave_garbage()
        return code
    except KeyboardInterrupt:
        # before the command line could say so itself, or after it had
        import os

        os.write(2, b"interrupted\n")
        return INTERRUPTED


def _end_if_launched(code: int) -> None:
    """One of several processes ends at once. Threads of torch may still hold what was sent, and want the interpreter to let
    go of it: taken down under them the process aborts, and its launcher takes a run that has ended for one that failed."""
    import os
    import sys

    if "RANK" in os.environ and "torch" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _listen() -> None:
    """SIGTERM, and SIGHUP where it is not ignored, end a command as Ctrl-C does, so that it takes away what is half written.

    Signals that come right behind the first are the same wish, and must not break into that.
    """
    import signal
    import time

    first: float | None = None

    def interrupt(number: int, frame: object) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None or now - first > 1:
            first = now
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


if __name__ == "__main__":
    import sys

    sys.exit(main())
