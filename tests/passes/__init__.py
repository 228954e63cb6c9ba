"""What the passes change, and what they keep."""
