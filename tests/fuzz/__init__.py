"""Files with damage of many kinds, the same in every run; each module is a process for tests/test_fuzz.py."""
