"""The lowered network: a small closed set of operators in PyTorch's terms."""
