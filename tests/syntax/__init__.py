"""Text to Document and back, and the value languages."""
