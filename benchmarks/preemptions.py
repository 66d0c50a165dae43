"""A training under `dora-repro watch`, killed at random moments and started again: is each start judged right?

The script is one as users write them, for plain torch or a training library that is installed. It saves every few
updates and resumes by itself. Two trainings: one whose resume is right, and one that loses state. A start of the right
one must be EXACT, and one of the wrong one DIFFERENT or LATENT. The first start is killed once it has saved, so that
each of the others resumes; these may be killed before they save. Nothing here is a figure of time.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import timing

PLAIN = """
import sys
from pathlib import Path
import torch

out, wrong = Path(sys.argv[1]), sys.argv[2] == "wrong"


def main():
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
    first = 0
    if (out / "last.pt").exists():
        saved = torch.load(out / "last.pt")
        first = saved["epoch"] + 1
        model.load_state_dict(saved["model"])
        torch.set_rng_state(saved["rng"])
        if not wrong:
            optimizer.load_state_dict(saved["optimizer"])
    for epoch in range(first, 60):
        for inputs, targets in loader:
            loss = ((model(inputs) - targets) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save({**saved, "rng": torch.get_rng_state()}, out / "new.pt")
        (out / "new.pt").replace(out / "last.pt")


main()
"""

TRAINER = """
import sys
from pathlib import Path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

out, wrong = Path(sys.argv[1]), sys.argv[2] == "wrong"


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 96

    def __getitem__(self, index):
        ids = torch.randint(0, 50, (12,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2))
arguments = TrainingArguments(str(out), per_device_train_batch_size=8, num_train_epochs=60, save_steps=10, seed=0,
                              save_total_limit=3, report_to=[], disable_tqdm=True, logging_steps=1000, use_cpu=True)
# The Trainer writes this file last: a folder without it was being written when the process was killed.
saved = sorted(out.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name[11:]))
last = saved[-1].parent if saved else None
if last and wrong:
    (last / "optimizer.pt").unlink(missing_ok=True)
Trainer(model, arguments, train_dataset=Texts()).train(resume_from_checkpoint=last and str(last))
"""

LIGHTNING = """
import sys
from pathlib import Path
import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

out, wrong = Path(sys.argv[1]), sys.argv[2] == "wrong"


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))

    def on_train_batch_start(self, batch, index):
        if index == 0:  # Lightning keeps no generator: each epoch draws from its own
            torch.manual_seed(self.current_epoch)

    def training_step(self, batch, index):
        return ((self.layers(batch[0]) - batch[1]) ** 2).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

    def on_load_checkpoint(self, checkpoint):
        if wrong:
            for state in checkpoint["optimizer_states"][0]["state"].values():
                state["exp_avg"].zero_()


lightning.seed_everything(0)
x = torch.randn(96, 8)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8)
saving = lightning.pytorch.callbacks.ModelCheckpoint(out, save_last=True, every_n_epochs=1)
trainer = lightning.Trainer(max_epochs=60, accelerator="cpu", callbacks=[saving], logger=False,
                            enable_progress_bar=False, enable_model_summary=False)
last = out / "last.ckpt"
trainer.fit(Module(), loader, ckpt_path=last if last.exists() else None)
"""

ACCELERATE = """
import json
import shutil
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset

out, wrong = Path(sys.argv[1]), sys.argv[2] == "wrong"


def main():
    set_seed(0)
    accelerator = Accelerator(cpu=True)
    x = torch.randn(96, 8)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    found = sorted(out.glob("epoch*"), key=lambda path: int(path.name[5:]))
    first = 0
    if found:
        accelerator.load_state(found[-1])
        first = int(found[-1].name[5:]) + 1
        if wrong:
            for state in optimizer.optimizer.state.values():
                state["exp_avg"].zero_()
    for epoch in range(first, 60):
        for inputs, targets in loader:
            loss = ((model(inputs) - targets) ** 2).mean()
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
        accelerator.save_state(out / "new")
        (out / "new").rename(out / f"epoch{epoch}")


main()
"""

IGNITE = """
import sys
from pathlib import Path
import torch
from ignite.engine import DeterministicEngine, Events
from ignite.handlers import Checkpoint, DiskSaver
from ignite.utils import manual_seed
from torch.utils.data import DataLoader, TensorDataset

out, wrong = Path(sys.argv[1]), sys.argv[2] == "wrong"
manual_seed(0)
x = torch.randn(96, 8)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)


def update(engine, batch):
    loss = ((model(batch[0]) - batch[1]) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


trainer = DeterministicEngine(update)  # which seeds each epoch
parts = {"trainer": trainer, "model": model, "optimizer": optimizer}
saving = Checkpoint(parts, DiskSaver(str(out), require_empty=False), n_saved=3)
trainer.add_event_handler(Events.EPOCH_COMPLETED, saving)
found = sorted(out.glob("checkpoint_*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))
if found:
    saved = torch.load(found[-1], weights_only=False)
    if wrong:
        for state in saved["optimizer"]["state"].values():
            state["exp_avg"].zero_()
    Checkpoint.load_objects(parts, saved)
trainer.run(loader, max_epochs=60)
"""
SCRIPTS = {"plain": PLAIN, "trainer": TRAINER, "lightning": LIGHTNING, "accelerate": ACCELERATE, "ignite": IGNITE}
_POLL = 0.02  # seconds
_TO_SAVE = 13  # updates after which each script has saved: so the first start leaves something to go on from
_PATIENCE = 600.0  # seconds without an update, after which a start has failed
RIGHT = {"right": {"EXACT"}, "wrong": {"DIFFERENT", "LATENT"}}


def preempted(folder: Path, kind: str, draw: random.Random, options: argparse.Namespace) -> Path:
    """Start a training, kill it and start it again; returns the folder of its journal."""
    script, out, journal = folder / "train.py", folder / "out", folder / "journal"
    out.mkdir()
    for number in range(options.kills + 1):
        watch = [sys.executable, "-m", "dora_repro", "watch", "--journal", str(journal), "--level", options.level, "--"]
        with (folder / f"log{number}").open("wb") as log:
            process = subprocess.Popen(
                [*watch, options.python, str(script), str(out), kind],
                env={**os.environ, "PYTHONPATH": str(timing.ROOT), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        least = options.first if number else max(options.first, _TO_SAVE)
        _wait_for_updates(process, journal, draw.randrange(least, 30) if number < options.kills else 6)
        time.sleep(draw.random() * 0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() not in (0, -signal.SIGKILL):
            printed = (folder / f"log{number}").read_text(errors="replace")
            raise RuntimeError(f"start {number + 1} ended with exit code {process.returncode}:\n{printed[-2000:]}")
    return journal


def _wait_for_updates(process: subprocess.Popen, journal: Path, count: int) -> None:
    """Wait until this start has noted so many updates, or has ended."""
    known = {*journal.glob("start-*")} if journal.exists() else set()
    limit = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < limit:
        mine = {*journal.glob("start-*")} - known
        if sum(file.read_bytes().count(b"\n") for one in mine for file in one.glob("updates-*")) >= count:
            return
        time.sleep(_POLL)


def judged(framework: str, kind: str, options: argparse.Namespace) -> dict[str, object]:
    """How the starts of one training were judged."""
    from dora_repro.journal.reading import read_journal

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(SCRIPTS[framework], encoding="utf-8")
        draw = random.Random(f"{options.seed} {framework} {kind}")
        journal = read_journal(preempted(folder, kind, draw, options))
        resumed = [start for start in journal.starts if start.source is not None]
        right = sum(start.verdict in RIGHT[kind] for start in resumed)
        verdicts = Counter(str(start.verdict) for start in resumed)
        if options.verbose:
            print(journal)
        size = sum(path.stat().st_size for path in journal.folder.glob("*/*"))
        updates = sum(start.updates[1] - start.updates[0] + 1 for start in journal.starts if start.updates)
    timing.tell(f"{framework}, {kind}: {right} of {len(resumed)} judged right {dict(verdicts)}")
    return {
        "training": f"{framework}, {kind}",
        "starts": len(journal.starts),
        "resumed": len(resumed),
        "judged right": right,
        "EXACT": verdicts["EXACT"],
        "DIFFERENT": verdicts["DIFFERENT"],
        "LATENT": verdicts["LATENT"],
        "INCONCLUSIVE": verdicts["INCONCLUSIVE"],
        "repeated updates": sum(start.repeated or 0 for start in resumed),
        "journal KiB": size / 1024,
        "updates": updates,
    }


def main(words: list[str] | None = None) -> None:
    parser = timing.arguments(str(__doc__).partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="times that each training is killed")
    parser.add_argument("--first", type=int, default=4, help="updates that each start after the first does at least")
    parser.add_argument("--frameworks", nargs="+", default=["plain"], choices=SCRIPTS)
    parser.add_argument("--kinds", nargs="+", default=[*RIGHT], choices=RIGHT)
    parser.add_argument("--level", default="light", choices=("light", "full"))
    parser.add_argument("--python", default=sys.executable, help="of the environment that has the frameworks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-v", "--verbose", action="store_true", help="print each journal")
    options = parser.parse_args(words)
    rows = [judged(framework, kind, options) for framework in options.frameworks for kind in options.kinds]
    notes = [
        "judged right: EXACT for a right resume; DIFFERENT or LATENT for one that loses state",
        "INCONCLUSIVE: the start before was killed between a save and its next update; the journal says what it lacks",
    ]
    timing.report("Preemptions", rows, options, notes)


if __name__ == "__main__":
    main()
