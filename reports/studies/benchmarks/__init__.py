"""Fast code measured against the slow references of tests/references.py: `python -m reports.studies.benchmarks`."""
