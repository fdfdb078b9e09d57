"""torch's compiler and timm: not there unless needed, and then the real ones."""

import subprocess
import sys

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
