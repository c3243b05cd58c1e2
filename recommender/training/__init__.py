"""Fitting a model: the loop, its record, and many of them."""
