"""The study's own training and its two tests, by one door: `dora_repro.study.quick()`, `dora_repro.study.full()`.

The kit checks any run; this is the one that it was ordered for: CLIP with DoRA adapters on human-behaviour embeddings.
"""

from typing import TYPE_CHECKING

from dora_repro.lazy import lazily

if TYPE_CHECKING:  # what type checkers and editors see of the table below; a test compares the two
    from dora_repro.checks.expectation import Expectation as Expectation
    from dora_repro.checks.expectation import Met as Met
    from dora_repro.checks.expectation import UnexpectedVerdict as UnexpectedVerdict
    from dora_repro.checks.expectation import expectation as expectation
    from dora_repro.checks.study import contents_of as contents_of
    from dora_repro.checks.study import every_step as every_step
    from dora_repro.checks.study import full as full
    from dora_repro.checks.study import quick as quick
    from dora_repro.checks.study import quick_config as quick_config
    from dora_repro.checks.study import twice as twice
    from dora_repro.subject.config import TrainingConfig as TrainingConfig
    from dora_repro.subject.training import TrainingRun as TrainingRun

_PLACES = {
    "checks.study": ("quick", "full", "every_step", "twice", "quick_config", "contents_of"),
    "checks.expectation": ("Expectation", "Met", "UnexpectedVerdict", "expectation"),
    "subject.config": ("TrainingConfig",),
    "subject.training": ("TrainingRun",),
}

if not TYPE_CHECKING:  # a type checker would take `__getattr__` for a promise that every name exists
    __getattr__, __dir__, __all__ = lazily(__name__, _PLACES)
