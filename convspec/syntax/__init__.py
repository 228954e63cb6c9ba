"""From text to a Document and back, and the value languages. Nothing here knows a layer type."""
