"""AdvPT as a pipeline: each script here is one stage of dvc.yaml, each folder a room that the stages compose."""

import gc
import sys

if sys.argv[0] == "-m":  # a stage is starting: its imports make a million objects that stay, so collecting is a waste
    gc.disable()  # `command` switches it on again
