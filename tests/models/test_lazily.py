"""The stand-in for torch's compiler: not there unless needed, and then the real one."""

import subprocess
import sys

SCRIPT = """
import sys
from stages.models.lazily import import_open_clip
open_clip = import_open_clip()
import timm
assert open_clip.timm_model.timm is timm, "timm failed to import"
assert not any(name.startswith("torch._dynamo") for name in sys.modules), "the compiler was imported"
detection = sys.modules["torchvision.ops.roi_align"]
answer = detection.is_compile_supported("cpu")
import torch._dynamo.utils
assert answer == torch._dynamo.utils.is_compile_supported("cpu")
assert "torch._dynamo.symbolic_convert" in sys.modules
"""


def test_the_compiler_is_imported_only_when_it_is_used():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
