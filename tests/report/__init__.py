"""Pictures, by their pixels."""
