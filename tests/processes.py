"""Questions about processes that may end while they are asked."""

import psutil


def is_alive(pid: int) -> bool:
    """Whether a process is there, and more than an entry that nobody has asked about."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(pid: int) -> list[str]:
    """The words a process was started with; of one that has ended there are none."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return []
