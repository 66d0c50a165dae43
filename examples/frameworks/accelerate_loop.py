"""A small network with Accelerate:    python accelerate_loop.py --out out [--resume out/epoch_0]"""

import argparse
import os

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--checkpointing-steps", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--seedable", action="store_true")
    parser.add_argument("--stateful", action="store_true")
    args = parser.parse_args()
    config = DataLoaderConfiguration(use_seedable_sampler=args.seedable, use_stateful_dataloader=args.stateful)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=args.accumulate, dataloader_config=config)
    set_seed(0)
    x = torch.randn(96, 16)
    y = x[:, :4].argmax(1)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=args.epochs * len(loader))
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)

    start_epoch, skip, step = 0, 0, 0
    if args.resume:
        accelerator.load_state(args.resume)
        kind, _, number = os.path.basename(os.path.normpath(args.resume)).partition("_")
        step = int(number) if kind == "step" else (int(number) + 1) * len(loader)
        start_epoch, skip = divmod(step, len(loader))

    for epoch in range(start_epoch, args.epochs):
        model.train()
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        active = loader
        if epoch == start_epoch and skip and not args.stateful:  # a stateful loader goes on by itself
            active = accelerator.skip_first_batches(loader, skip)
        for inputs, labels in active:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), labels)
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            step += 1
            if args.checkpointing_steps and step % args.checkpointing_steps == 0:
                accelerator.save_state(os.path.join(args.out, f"step_{step}"))
        if not args.checkpointing_steps:
            accelerator.save_state(os.path.join(args.out, f"epoch_{epoch}"))
    torch.save(accelerator.unwrap_model(model).state_dict(), os.path.join(args.out, "final.pt"))


if __name__ == "__main__":
    main()
