"""From a Program to the Python source of an nn.Module, and from that source to the module."""
