"""The suite. It runs against the installed wheel: nothing here may import from the source tree by a path."""
