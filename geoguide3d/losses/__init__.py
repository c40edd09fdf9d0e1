"""Training objectives: one equation, one file."""
