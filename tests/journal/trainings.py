"""A training in production, as a script, and how it is started under a journal."""

import os
import subprocess
import sys
from pathlib import Path

import dora_repro

TRAIN = """
import os, signal, sys
from pathlib import Path
import torch

out, die, lost = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]

def main():
    torch.manual_seed(0)
    x = torch.randn(48, 4)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
    first = 0
    for file in sorted(out.glob("epoch*.pt")):
        saved = torch.load(file)
        first = saved["epoch"] + 1
        model.load_state_dict(saved["model"])
        if "optimizer" not in lost:
            optimizer.load_state_dict(saved["optimizer"])
        if "schedule" not in lost:
            schedule.load_state_dict(saved["schedule"])
        if "rng" not in lost:
            torch.set_rng_state(saved["rng"])
    done = 0
    for epoch in range(first, 4):
        for inputs, targets in loader:
            loss = ((model(inputs) - targets) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done == die:
                os.kill(os.getpid(), signal.SIGKILL)
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        torch.save({**saved, "epoch": epoch, "rng": torch.get_rng_state()}, out / f"epoch{epoch}.pt")

main()
"""
UPDATES = 6  # of an epoch


def start(
    folder: Path, *arguments: str, options: tuple[str, ...] = (), script: str = TRAIN
) -> subprocess.CompletedProcess[str]:
    """Start the training under `dora-repro watch`, with its journal in FOLDER/journal and its files in FOLDER/out."""
    file, out = folder / "train.py", folder / "out"
    file.write_text(script, encoding="utf-8")
    out.mkdir(exist_ok=True)
    watch = [sys.executable, "-m", "dora_repro", "watch", "--journal", str(folder / "journal"), *options, "--"]
    top = str(Path(dora_repro.__file__).parents[1])
    return subprocess.run(
        [*watch, sys.executable, str(file), str(out), *arguments],
        env={**os.environ, "PYTHONPATH": top, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
