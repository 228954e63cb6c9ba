"""Tests of convspec.data: real pictures, folders as users have them, and batches that can be drawn again."""
