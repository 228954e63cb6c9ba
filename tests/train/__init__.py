"""Tests of convspec.train: the rule, the checkpoints, and runs that are stopped, killed, broken and gone on with."""
