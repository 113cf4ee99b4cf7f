"""Measurements of the program and of the machines, each beside the same thing made by hand."""
