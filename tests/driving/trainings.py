"""Trainings that are one function, as users write them: everything in local variables, saving by themselves."""

import os
import queue
import threading

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dora_repro.faults.functions import train_epoch

SEEN = []  # a module's variable that the training changes


def train_model(config, resume_from=None):
    """Early stopping, a validation loss, a checkpoint an epoch: what is not in `saves` is lost."""
    torch.manual_seed(config["seed"])
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    own = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(16, 4, generator=own), torch.randn(16, 1, generator=own))
    loader = DataLoader(data, batch_size=4, shuffle=True)
    best_loss, patience_left, start_epoch = float("inf"), config["patience"], 0
    history = []
    if resume_from is not None:
        checkpoint = torch.load(resume_from, weights_only=False)
        model.load_state_dict(checkpoint["model"])
        if "optimizer" in checkpoint:
            optimizer.load_state_dict(checkpoint["optimizer"])
        if "best" in checkpoint:
            best_loss, patience_left = checkpoint["best"]
        start_epoch = checkpoint["epoch"] + 1
        if "rng" in checkpoint:
            torch.set_rng_state(checkpoint["rng"])
    for epoch in range(start_epoch, config["epochs"]):
        model.train()
        mean = train_epoch(model, optimizer, loader)
        history.append(mean)
        SEEN.append(epoch) if config.get("counts") else None
        model.eval()
        with torch.no_grad():
            val_loss = nn.functional.mse_loss(model(data.tensors[0]), data.tensors[1]).item()
        if val_loss < best_loss - config["delta"]:
            best_loss, patience_left = val_loss, config["patience"]
        else:
            patience_left -= 1
        state = {"model": model.state_dict(), "epoch": epoch}
        if "optimizer" in config["saves"]:
            state["optimizer"] = optimizer.state_dict()
        if "best" in config["saves"]:
            state["best"] = best_loss, patience_left
        if "rng" in config["saves"]:
            state["rng"] = torch.get_rng_state()
        torch.save(state, os.path.join(config["save_path"], f"epoch{epoch}.pt"))
        if patience_left <= 0:
            break
    return history


def configured(saves="optimizer best rng", **changes):
    config = {"seed": 0, "epochs": 5, "patience": 3, "delta": 0.0, "save_path": "{out}", "saves": saves}
    return {**config, **changes}


class Fitted:
    """A trainer with a method for the whole training, whose steps follow an average of the loss that no file has."""

    def __init__(self, out, resume_from):
        torch.manual_seed(0)
        self.out, self.model, self.average, self.done = out, nn.Linear(4, 1), None, 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.inputs = torch.randn(8, 4)
        if resume_from is not None:
            state = torch.load(resume_from)
            self.model.load_state_dict(state["model"])
            self.done = state["done"]

    def fit(self):
        while self.done < 8:
            loss = self.model(self.inputs).square().mean()
            self.average = loss.item() if self.average is None else 0.5 * self.average + 0.5 * loss.item()
            self.optimizer.zero_grad()
            (loss * self.average).backward()
            self.optimizer.step()
            self.done += 1
            state = {"model": self.model.state_dict(), "done": self.done}
            torch.save(state, os.path.join(self.out, f"{self.done}.pt"))


def fit(out, resume_from=None):
    Fitted(out, resume_from).fit()


def train_from_pool(out, resume_from=None):
    """Draws once for each member of a pool that grows: the generator is saved, and the pool is not."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, pool, done = torch.randn(8, 4), [1.0], 0
    if resume_from is not None:
        state = torch.load(resume_from)
        model.load_state_dict(state["model"])
        torch.set_rng_state(state["rng"])
        done = state["done"]
    while done < 8:
        weight = sum(torch.rand(()) * member for member in pool)
        loss = model(inputs).square().mean() * weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pool.append(float(done))
        done += 1
        state = {"model": model.state_dict(), "rng": torch.get_rng_state(), "done": done}
        torch.save(state, os.path.join(out, f"{done}.pt"))


class Ahead(threading.Thread):
    """Batches that a thread fetches ahead, each with a note of who it is for."""

    def __init__(self, loader):
        super().__init__(daemon=True)
        self.loader, self.ready = loader, queue.Queue(2)
        self.start()

    def run(self):
        for batch in self.loader:
            self.ready.put({"x": batch[0], "for": f"step {self.loader.batch_size}"})
        self.ready.put(None)

    def __iter__(self):
        while (batch := self.ready.get()) is not None:
            yield batch


def train_ahead(out, resume_from=None, keeps=True):
    """Epochs whose order is drawn from a generator of the loader's own, while a thread reads ahead."""
    torch.manual_seed(0)
    order = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(torch.randn(12, 4)), batch_size=4, shuffle=True, generator=order)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    start = 0
    if resume_from is not None:
        state = torch.load(resume_from, weights_only=False)
        model.load_state_dict(state["model"])
        start = state["epoch"]
        if keeps:
            order.set_state(state["order"])
    for epoch in range(start, 4):
        for batch in Ahead(loader):
            optimizer.zero_grad()
            model(batch["x"]).square().mean().backward()
            optimizer.step()
        state = {"model": model.state_dict(), "epoch": epoch + 1, "order": order.get_state()}
        torch.save(state, os.path.join(out, f"epoch{epoch}.pt"))
