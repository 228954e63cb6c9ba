"""`convspec` as a command: exit codes, output, files."""
