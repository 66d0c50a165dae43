"""A small network in plain PyTorch:    python plain_torch.py --out out [--resume out/epoch1.pt]"""

import argparse
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save-every", type=int, help="save every so many steps, and not after each epoch")
    parser.add_argument("--keep-rng", choices=["no", "now", "epoch"], default="no", help="the generator as it was when")
    args = parser.parse_args()
    torch.manual_seed(0)
    os.makedirs(args.out, exist_ok=True)

    x = torch.randn(96, 16)
    y = x[:, :4].argmax(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=args.epochs * len(loader))

    start_epoch, start_batch, step = 0, 0, 0
    rng, epoch_rng = None, None
    if args.resume:
        checkpoint = torch.load(args.resume)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        start_epoch, start_batch, step = checkpoint["epoch"], checkpoint["batch"], checkpoint["step"]
        rng, epoch_rng = checkpoint.get("rng"), checkpoint.get("epoch_rng")

    def save(name, epoch, batch):
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        state |= {"epoch": epoch, "batch": batch, "step": step}
        if args.keep_rng != "no":
            state["rng"] = torch.get_rng_state()
        if args.keep_rng == "epoch" and batch:
            state["epoch_rng"] = epoch_rng
        torch.save(state, os.path.join(args.out, name))

    for epoch in range(start_epoch, args.epochs):
        resumed = epoch == start_epoch and rng is not None
        if resumed:
            torch.set_rng_state(rng if epoch_rng is None else epoch_rng)  # the order of an epoch is drawn at its start
        epoch_rng = torch.get_rng_state()
        for i, (inputs, labels) in enumerate(loader):
            if epoch == start_epoch and i < start_batch:
                continue  # done before
            if resumed and i == start_batch and args.keep_rng == "epoch" and start_batch:
                torch.set_rng_state(rng)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if args.save_every and step % args.save_every == 0:
                save(f"step{step}.pt", epoch, i + 1)
        print(f"epoch {epoch}: loss {loss.item():.4f}")
        if not args.save_every:
            save(f"epoch{epoch}.pt", epoch + 1, 0)
    torch.save(model.state_dict(), os.path.join(args.out, "final.pt"))


if __name__ == "__main__":
    main()
