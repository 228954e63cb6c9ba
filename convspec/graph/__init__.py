"""From Documents to a Graph of typed layers, and what is inferred from it: sizes, placement, costs."""
