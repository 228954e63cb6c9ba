"""What a network asks of the machine: memory of a training step, what crosses between GPUs, the time that it cannot beat."""
