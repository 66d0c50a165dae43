"""Two runs side by side in one process, taken step by step: uninterrupted, and interrupted (saved, killed, loaded)."""

from dora_repro.lab.lab import Lab

__all__ = ["Lab"]
