"""The emitter against the interpreter, and the emitted source as a program of its own."""
