"""Tests of `convspec_kernels`."""
