"""The checkpoint explorer: the checkpoints of a folder, alone or beside another."""
