"""Importing this imports CLIP, as much of transformers as a side of the subject needs.

What transformers imports for other models and for several processes (scipy's optimizers, torch's distributed tensors
and flex attention), and the list of all models that it makes a second time, take twice as long as CLIP itself; they
stay without it in this process. So this is for interpreters that do nothing but train the subject.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import transformers.utils
from transformers.utils import import_utils

_NOT_NEEDED = ("is_scipy_available", "is_torch_distributed_available", "is_torch_flex_attn_available")
_LISTS_MODELS = "create_import_structure_from_path"  # transformers itself has called it when this is imported


@contextlib.contextmanager
def _only_for_clip() -> Iterator[None]:
    asked = {
        (module, name): getattr(module, name)
        for module in (transformers.utils, import_utils)
        for name in (*_NOT_NEEDED, _LISTS_MODELS)
        if hasattr(module, name)  # in a version without it, the import takes longer
    }
    for (module, name), answer in asked.items():
        setattr(module, name, _without_models(answer) if name == _LISTS_MODELS else lambda: False)
    try:
        yield
    finally:
        for (module, name), answer in asked.items():
            setattr(module, name, answer)


def _without_models(list_folder: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    models = Path(transformers.utils.__file__).parents[1] / "models"

    def listed(path: str) -> dict[str, Any]:
        return {} if Path(path) in (models, models / "__init__.py") else list_folder(path)

    return listed


with _only_for_clip():
    import transformers.models.clip.modeling_clip as _modeling  # noqa: F401  # imported for what it imports
