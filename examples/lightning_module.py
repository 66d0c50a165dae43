"""Handwritten digits with Lightning; goes on from its newest epoch:    python lightning_module.py --out out

Lightning saves no generators, and makes a loader's iterator at another moment when it resumes. So both the order of an
epoch and its dropout depend on the epoch's number here, and on nothing that came before.
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Classifier(L.LightningModule):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(288, 10)
        )

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 0:
            torch.manual_seed(self.current_epoch)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images[:320], dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset(images, torch.tensor(digits.target[:320]))
    # Of one process: the order comes from seed and epoch, and Lightning tells it the epoch.
    sampler = DistributedSampler(data, num_replicas=1, rank=0, seed=0)
    loader = DataLoader(data, batch_size=64, sampler=sampler)
    trainer = L.Trainer(
        max_epochs=args.epochs,
        callbacks=[ModelCheckpoint(args.out, filename="{epoch}", save_top_k=-1)],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    saved = sorted(args.out.glob("epoch=*.ckpt"))
    trainer.fit(Classifier(args.epochs * len(loader)), loader, ckpt_path=saved[-1] if saved else None)


if __name__ == "__main__":
    main()
