"""What a side imports of transformers beforehand."""

import importlib.util
import subprocess
import sys
from textwrap import dedent

import pytest
import torch

BEGIN = "import sys, dora_repro.sides.late_imports, dora_repro.subject.clip\n"


def said(code: str) -> list[str]:
    """What a new interpreter prints that has imported CLIP as a side does."""
    words = [sys.executable, "-c", BEGIN + dedent(code)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize("module", ["scipy.optimize", "torch.distributed.tensor", "torch._dynamo.eval_frame", "sympy"])
def test_clip_is_imported_without_what_only_others_need(module):
    assert said(f"""
        print("transformers.models.clip.modeling_clip" in sys.modules, "{module}" in sys.modules)
    """) == ["True False"]


def test_transformers_answers_afterwards_as_it_does():
    lines = said("""
        from transformers import BertConfig
        from transformers.models.gpt2 import GPT2Config
        from transformers.utils import import_utils, is_scipy_available
        print(BertConfig().model_type, GPT2Config().model_type, is_scipy_available())
        print(import_utils.is_torch_distributed_available())
    """)
    assert lines[0].split() == ["bert", "gpt2", str(importlib.util.find_spec("scipy") is not None)]
    assert lines[1] == str(torch.distributed.is_available())


def test_a_side_that_builds_and_trains_it_imports_nothing_heavy_besides():
    lines = said("""
        from dora_repro.subject.training import TrainingConfig, TrainingRun
        run = TrainingRun(TrainingConfig())
        run.step()
        print([name for name in ("sympy", "scipy.optimize", "torch._dynamo.eval_frame") if name in sys.modules])
    """)
    assert lines == ["[]"]
