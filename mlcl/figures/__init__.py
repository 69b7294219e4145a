"""The figures, each a function from numbers to the bytes of its formats."""
