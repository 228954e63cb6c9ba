"""Shapes against torch, and the public strategy that draws specs."""
