"""What a mistake looks like to its author."""
