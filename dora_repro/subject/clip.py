"""Importing this imports CLIP, as much of transformers as a side of the subject needs.

The losses of object detection import scipy's optimisers, which takes a quarter of the time; they stay without in this
process. So this is for interpreters that do nothing but train the subject.
"""

import contextlib
from collections.abc import Iterator

import transformers.utils as theirs


@contextlib.contextmanager
def _without_scipy() -> Iterator[None]:
    found = theirs.is_scipy_available
    theirs.is_scipy_available = lambda: False
    try:
        yield
    finally:
        theirs.is_scipy_available = found


with _without_scipy():
    import transformers.models.clip.modeling_clip as _modeling  # noqa: F401  # imported for what it imports
