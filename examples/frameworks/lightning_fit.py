"""A small network with Lightning:    python lightning_fit.py --out out [--ckpt out/epoch=0-step=12.ckpt]"""

import argparse
import os

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Classifier(L.LightningModule):
    def __init__(self, total_steps):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
        self.total_steps = total_steps

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class KeepGenerators(L.Callback):
    """The generators are in no checkpoint of Lightning's."""

    def __init__(self):
        self.restored = None

    def state_dict(self):
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state):
        self.restored = state["torch"]

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.restored is not None:
            torch.set_rng_state(self.restored)
            self.restored = None


class SeedEpochs(L.Callback):
    """What a step draws depends on its epoch, and on nothing that came before it."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 0:
            torch.manual_seed(trainer.current_epoch)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--ckpt")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--every", type=int, help="save every so many steps, and not after each epoch")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--stateful", action="store_true", help="torchdata's StatefulDataLoader")
    parser.add_argument("--keep-rng", action="store_true")
    parser.add_argument("--seed-epochs", action="store_true", help="order and dropout by the number of the epoch")
    args = parser.parse_args()
    L.seed_everything(0, workers=True, verbose=False)
    x = torch.randn(112, 16)
    y = x[:, :4].argmax(1)
    Loader = DataLoader
    if args.stateful:
        from torchdata.stateful_dataloader import StatefulDataLoader as Loader
    data = TensorDataset(x[:96], y[:96])
    order = {"sampler": DistributedSampler(data, num_replicas=1, rank=0)} if args.seed_epochs else {"shuffle": True}
    train = Loader(data, batch_size=8, **order)
    val = DataLoader(TensorDataset(x[96:], y[96:]), batch_size=16) if args.validate else None
    every = {"every_n_train_steps": args.every} if args.every else {"every_n_epochs": 1}
    callbacks = [ModelCheckpoint(args.out, save_top_k=-1, save_on_train_epoch_end=not args.every, **every)]
    if args.keep_rng:
        callbacks.append(KeepGenerators())
    if args.seed_epochs:
        callbacks.append(SeedEpochs())
    model = Classifier(args.epochs * len(train) // args.accumulate)
    trainer = L.Trainer(
        max_epochs=args.epochs,
        accumulate_grad_batches=args.accumulate,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, train, val, ckpt_path=args.ckpt)
    torch.save(model.state_dict(), os.path.join(args.out, "final.pt"))


if __name__ == "__main__":
    main()
