"""A small network with Ignite:    python ignite_engine.py --out out [--resume out/checkpoint_12.pt]"""

import argparse

import torch
from ignite.engine import DeterministicEngine, Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from ignite.utils import manual_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save-every", type=int, help="save every so many steps, and not after each epoch")
    parser.add_argument("--deterministic", action="store_true")
    args = parser.parse_args()
    manual_seed(0)
    x = torch.randn(96, 16)
    y = x[:, :4].argmax(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=args.epochs * len(loader))

    def update(engine, batch):
        inputs, labels = batch
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    trainer = DeterministicEngine(update) if args.deterministic else Engine(update)
    parts = {"trainer": trainer, "model": model, "optimizer": optimizer, "scheduler": scheduler}
    when = Events.ITERATION_COMPLETED(every=args.save_every) if args.save_every else Events.EPOCH_COMPLETED
    disk = DiskSaver(args.out, create_dir=True, require_empty=False)
    trainer.add_event_handler(when, Checkpoint(parts, disk, n_saved=None))
    if args.resume:
        Checkpoint.load_objects(parts, torch.load(args.resume, weights_only=False))
    trainer.run(loader, max_epochs=args.epochs)
    torch.save(model.state_dict(), f"{args.out}/final.pt")


if __name__ == "__main__":
    main()
