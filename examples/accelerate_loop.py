"""Handwritten digits with Accelerate; goes on from its newest epoch:    python accelerate_loop.py --out out"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    accelerator = Accelerator(cpu=True)
    set_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images[:320], dtype=torch.float32).unsqueeze(1) / 16
    loader = DataLoader(TensorDataset(images, torch.tensor(digits.target[:320])), batch_size=64, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(288, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * len(loader))
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)

    first = 0
    if saved := sorted(args.out.glob("epoch*")):
        accelerator.load_state(saved[-1])  # the generators, too, last
        first = int(saved[-1].name.removeprefix("epoch")) + 1

    for epoch in range(first, args.epochs):
        model.train()
        loader.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
        accelerator.print(f"epoch {epoch}: loss {loss.item():.4f}")
        accelerator.save_state(args.out / f"epoch{epoch}")


if __name__ == "__main__":
    main()
