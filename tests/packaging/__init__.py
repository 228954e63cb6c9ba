"""Tests of what an install holds."""
