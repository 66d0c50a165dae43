"""Two processes on a CPU:    torchrun --standalone --nproc-per-node 2 ddp.py --out out [--resume out/snapshot1.pt]"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--keep-rng", action="store_true", help="each rank keeps its own generator")
    parser.add_argument("--set-epoch", choices=["before", "after", "never"], default="before", help="…each epoch")
    args = parser.parse_args()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(0)
    x = torch.randn(96, 16)
    data = TensorDataset(x, x[:, :4].argmax(1))
    sampler = DistributedSampler(data, seed=0)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(args.dropout), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=args.epochs * len(loader))
    torch.manual_seed(rank)
    start = 0
    if args.resume:
        snapshot = torch.load(args.resume)
        model.load_state_dict(snapshot["model"])
        optimizer.load_state_dict(snapshot["optimizer"])
        scheduler.load_state_dict(snapshot["scheduler"])
        start = snapshot["epoch"]
    model = DistributedDataParallel(model)
    if args.resume and args.keep_rng:
        torch.set_rng_state(torch.load(os.path.join(args.out, f"generator{start}-{rank}.pt")))
    for epoch in range(start, args.epochs):
        if args.set_epoch == "before":
            sampler.set_epoch(epoch)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
        if args.set_epoch == "after":
            sampler.set_epoch(epoch + 1)
        if args.keep_rng:
            torch.save(torch.get_rng_state(), os.path.join(args.out, f"generator{epoch + 1}-{rank}.pt"))
        if rank == 0:
            state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            torch.save(state | {"scheduler": scheduler.state_dict()}, os.path.join(args.out, f"snapshot{epoch + 1}.pt"))
        dist.barrier()
    if rank == 0:
        torch.save(model.module.state_dict(), os.path.join(args.out, "final.pt"))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
