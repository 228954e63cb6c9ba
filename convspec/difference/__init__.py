"""What differs between two networks, in the words of their layers: the matter of `convspec diff`.

`steps` breaks a network into what it does one after another, `align` finds which step of one is which of the other,
`wiring` says what was moved, and `compare` puts all of it together.
"""
