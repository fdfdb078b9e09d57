"""Files under data/: Parquet, safetensors, their provenance and checksums. No tensor library."""
