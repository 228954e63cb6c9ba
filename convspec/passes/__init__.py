"""Rewrites of a Program, one module each, and the pipeline that runs them."""
