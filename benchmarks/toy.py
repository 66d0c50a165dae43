"""A toy run that saves less than it needs, for `wall.py`: what a check costs whose steps cost next to nothing."""

import torch
from torch.utils.data import DataLoader, TensorDataset


class Forgetful:
    """An MLP that is trained on 64 rows in shuffled batches of 8; its checkpoint holds the model alone."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.loader = DataLoader(TensorDataset(torch.randn(64, 8), torch.randn(64, 1)), batch_size=8, shuffle=True)
        self.batches = iter(self.loader)

    def step(self) -> float:
        """Train on the next batch; return its loss."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        inputs, targets = batch
        loss = (self.model(inputs) - targets).pow(2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path: str) -> None:
        """Write the model."""
        torch.save({"model": self.model.state_dict()}, path)

    def load(self, path: str) -> None:
        """Read the model."""
        self.model.load_state_dict(torch.load(path)["model"])
