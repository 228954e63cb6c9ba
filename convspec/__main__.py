"""The program: `convspec`, and `python -m convspec`.

Ctrl-C can come while Python still imports the package. So nothing is imported up here, and `convspec` itself imports the
checker when it is first asked for it.
"""

INTERRUPTED = 130


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    try:
        from convspec.collector import collector_at_rest, leave_garbage

        with collector_at_rest():
            from convspec.cli import main as run
        code = run()
        leave_garbage()
        return code
    except KeyboardInterrupt:
        # before the command line could say so itself, or after it had
        import os

        os.write(2, b"interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    import sys

    sys.exit(main())
