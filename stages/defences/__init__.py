"""Defences that process images before the encoder: images (N, 3, H, W) in [0, 1] -> the same, each by itself."""
