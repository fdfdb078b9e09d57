"""What the fast ways are worth, measured against the slow ones of tests/references.py: `python -m tests.benchmarks`."""
