"""Record a run: digests of what each step does and keeps, into a `Trace`."""

from dora_repro.recording.recorder import Recorder

__all__ = ["Recorder"]
