"""Attacks: tensors in, tensors out; pixels in [0, 1]."""
