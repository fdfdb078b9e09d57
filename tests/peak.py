"""Runs a stage, then prints the most memory that its process held, in MB: `python -m peak stages.craft fashion`."""

import os
import resource
import runpy
import sys

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    os._exit = sys.exit  # a stage that is done leaves at once; here there is something left to do
    try:
        runpy.run_module(sys.argv[0], run_name="__main__")
    finally:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
