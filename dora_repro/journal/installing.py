"""What `boot/sitecustomize.py` calls inside a training that keeps a journal, once torch has been imported."""

import os

from dora_repro.journal.ledger import JournalFiles
from dora_repro.journal.place import JournalPlace
from dora_repro.journal.setting import Setting
from dora_repro.recording.recorder import Recording
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.files import Files, Position
from dora_repro.scripts.installing import begin
from dora_repro.scripts.watching import Watch

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")  # as torchrun, srun and mpirun tell it


def install() -> None:
    """Keep a journal of this process from now on; of a training on several ranks, of the first one alone.

    Raises:
        BadInput: a variable of the environment has a value that it cannot have.
    """
    setting = Setting.of()
    if next((rank for name in _RANKS if (rank := os.environ.get(name))), "0") != "0":
        return
    place = JournalPlace(setting)

    def files(position: Position) -> Files:
        place.files = JournalFiles(setting.folder, position, place.wrote, place.serialized, place.begins)
        return place.files

    full = setting.level == "full"
    folder, kill = setting.folder, setting.kill_after
    given = Assignment(folder, folder, kill_after=kill, keep_first=True, keep_saved=True)
    begin(Watch(given, setting.folder, place=place, files=files, recording=Recording(gradients=full, memory=full)))
