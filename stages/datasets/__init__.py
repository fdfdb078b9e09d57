"""Data sets: where they come from and how their images are decoded."""
