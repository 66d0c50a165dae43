"""The lab's panel: buttons, timeline and views of two runs."""
