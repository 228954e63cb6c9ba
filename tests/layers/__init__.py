"""Each layer type by tables computed by hand."""
