"""Tests of what differs between two networks."""
