"""What a side imports of transformers beforehand."""

import importlib.util
import subprocess
import sys

CODE = """
import sys
import dora_repro.subject.clip
from transformers.utils import is_scipy_available
print("transformers.models.clip.modeling_clip" in sys.modules, "scipy.optimize" in sys.modules, is_scipy_available())
"""


def test_clip_is_imported_without_what_only_object_detection_needs():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    imported, scipy, available = found.stdout.split()
    assert (imported, scipy) == ("True", "False")
    assert available == str(importlib.util.find_spec("scipy") is not None)
