"""`python -m convspec`."""

import sys

from convspec.cli import main

if __name__ == "__main__":
    sys.exit(main())
