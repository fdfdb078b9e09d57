"""Prompts: learnable context vectors in front of class names, and what they say of an image."""
