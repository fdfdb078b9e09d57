"""Tokens that tuned context vectors are near, and moves of text features."""
