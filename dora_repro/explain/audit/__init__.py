"""Audits: what of the run's state the checkpoint holds, and what became of it while loading."""
