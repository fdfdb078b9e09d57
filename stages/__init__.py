"""AdvPT as a pipeline: each script here is one stage of dvc.yaml, each folder a room that the stages compose."""

import gc
import sys
from types import ModuleType

if sys.argv[0] == "-m":  # a stage is starting: what follows shortens its imports, half a second of two
    gc.disable()  # they make a million objects that stay, so collecting is a waste; `command` switches it on again
    # torch's shape rules for tensors without data, which its compiler wants and nothing here does
    sys.modules.setdefault("torch._meta_registrations", ModuleType("torch._meta_registrations"))
