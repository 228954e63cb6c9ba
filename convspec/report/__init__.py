"""Pictures: of a network, layer by layer, and of what its first filters have learned."""
