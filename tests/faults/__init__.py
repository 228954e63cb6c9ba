"""Single faults in real specs, and any text at all."""
