"""Attacks and embeddings, from their blocks in params.yaml, over shards of images."""
