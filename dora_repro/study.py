"""The study's own training and its two tests, by one door: `dora_repro.study.quick()`, `dora_repro.study.full()`.

The kit checks any run; this is the one that it was ordered for: CLIP with DoRA adapters on human-behaviour embeddings.
"""

from dora_repro import lazily

_PLACES = {
    "checks.study": ("quick", "full", "every_step", "twice", "quick_config", "contents_of"),
    "checks.expectation": ("Expectation", "UnexpectedVerdict", "expectation"),
    "subject.config": ("TrainingConfig",),
    "subject.training": ("TrainingRun",),
}

__getattr__, __dir__, __all__ = lazily(__name__, _PLACES)
