"""A fast start: torch's compiler, timm and huggingface_hub wait for their use; no garbage is collected meanwhile."""

import gc
import subprocess
import sys

import pytest

from stages.runtime.startup import pause_garbage_collection, resume_garbage_collection

SCRIPT = """
import sys
from stages.runtime.startup import import_open_clip, import_timm
open_clip = import_open_clip()
early = {"timm", "huggingface_hub"} & {name.split(".")[0] for name in sys.modules}
assert not early, f"imported: {early}"
assert open_clip.pretrained.has_hf_hub()
import huggingface_hub
huggingface_hub.hf_hub_download = lambda *asked, **options: (asked, options)
given = open_clip.pretrained.hf_hub_download("owner/model", filename="file")
assert given == (("owner/model",), {"filename": "file", "library_name": "open_clip",
                                    "library_version": open_clip.__version__}), given
timm = import_timm()
assert open_clip.timm_model.timm is timm and open_clip.model.TimmModel.__init__.__globals__["timm"] is timm
assert not any(name.startswith("torch._dynamo") for name in sys.modules), "the compiler was imported"
detection = sys.modules["torchvision.ops.roi_align"]
answer = detection.is_compile_supported("cpu")
import torch._dynamo.utils
assert answer == torch._dynamo.utils.is_compile_supported("cpu")
assert "torch._dynamo.symbolic_convert" in sys.modules
"""


def test_the_compiler_timm_and_the_hub_are_imported_only_when_they_are_used():
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
