"""Scripts as users write them, small: a classifier with dropout that saves after each epoch."""

import sys
from pathlib import Path

TRAIN = """
import argparse, os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--resume")
    parser.add_argument("--lose", default="")
    args = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(24, 6)
    y = (x.sum(1) > 0).long()
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    start, best = 0, 1e9
    if args.resume:
        state = torch.load(args.resume, weights_only=False)
        model.load_state_dict(state["model"])
        if args.lose != "optimizer":
            optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"]
        if args.lose != "best":
            best = state["best"]
        if args.lose != "rng":
            torch.set_rng_state(state["rng"])
    for epoch in range(start, 3):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        best = min(best, loss.item()) if epoch != 2 else best
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1, "best": best}
        torch.save({**state, "rng": torch.get_rng_state()}, os.path.join(args.out, f"epoch{epoch}.pt"))
    print("done", best)


main()
"""
"""Three epochs of three steps; what `--lose` names is not loaded."""


def script(folder: Path, text: str = TRAIN) -> str:
    """Write a script and return the beginning of a command that runs it with this interpreter."""
    path = folder / "train.py"
    path.write_text(text, encoding="utf-8")
    return f"{sys.executable} {path}"


def commands(folder: Path, text: str = TRAIN, more: str = "") -> tuple[str, str]:
    """The command that trains and the one that resumes, with more arguments for the latter."""
    command = script(folder, text)
    return f"{command} --out {{out}}", f"{command} --out {{out}} --resume {{newest}} {more}".rstrip()
