"""Banks: every artefact as Parquet, with its provenance and checksums. No tensor library here."""
