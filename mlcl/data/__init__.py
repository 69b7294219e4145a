"""Data sets: where images come from (`sources`), and the packed form that every later stage reads (`packed`)."""
