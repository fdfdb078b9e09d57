"""A fast start: torch's compiler and timm are imported only when used; no garbage is collected while a stage starts."""

import gc
import subprocess
import sys

import pytest

from stages.runtime.startup import pause_garbage_collection, resume_garbage_collection

SCRIPT = """
import sys
from stages.runtime.startup import import_open_clip, import_timm
open_clip = import_open_clip()
assert not any(name.split(".")[0] == "timm" for name in sys.modules), "timm was imported"
timm = import_timm()
assert open_clip.timm_model.timm is timm and open_clip.model.TimmModel.__init__.__globals__["timm"] is timm
assert not any(name.startswith("torch._dynamo") for name in sys.modules), "the compiler was imported"
detection = sys.modules["torchvision.ops.roi_align"]
answer = detection.is_compile_supported("cpu")
import torch._dynamo.utils
assert answer == torch._dynamo.utils.is_compile_supported("cpu")
assert "torch._dynamo.symbolic_convert" in sys.modules
"""


def test_the_compiler_and_timm_are_imported_only_when_they_are_used():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


@pytest.mark.parametrize(("program", "collects"), [("-m", False), ("pytest", True)])
def test_garbage_collection_pauses_while_a_stage_starts(monkeypatch, program, collects):
    monkeypatch.setattr(sys, "argv", [program])
    try:
        pause_garbage_collection()
        assert gc.isenabled() == collects
    finally:
        resume_garbage_collection()
        gc.unfreeze()
    assert gc.isenabled()
