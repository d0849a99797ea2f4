"""Data sets made in code from a seed."""
