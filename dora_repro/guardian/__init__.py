"""Processes that end with this one, however it ends: a small process of its own waits for that (`guardian_main.py`)."""
