"""Predictions of methods, and what they say about the attacks."""
