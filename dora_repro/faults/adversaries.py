"""Two networks that are trained against each other, the one that makes samples first."""

import random

import torch
from torch import nn

from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import ConstantRate


class Pool:
    """The critic is shown samples of before, too: one of those that are kept, in whose place the new one is put."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: list[torch.Tensor] = []

    def exchange(self, made: torch.Tensor) -> torch.Tensor:
        if len(self.kept) < self.size:
            self.kept.append(made)
            return made
        at = random.randrange(self.size)
        shown, self.kept[at] = self.kept[at], made
        return shown


class Adversaries(ConstantRate):
    """The clean run. The critic's optimizer clears its gradients where it begins: by then the other network's loss has
    added to what the step before had left in them."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.critics_optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-2, betas=(0.5, 0.999))
        self.pool = Pool(2)

    def step(self) -> float:
        inputs, targets = self.next_batch()
        self.optimizer.zero_grad()
        made = self.model(inputs)
        loss = nn.functional.softplus(-self.critic(made)).mean()
        loss.backward()
        self.optimizer.step()

        self.critics_optimizer.zero_grad()
        shown = self.critic(self.pool.exchange(made.detach()))
        critical = nn.functional.softplus(-self.critic(targets)).mean() + nn.functional.softplus(shown).mean()
        critical.backward()
        self.critics_optimizer.step()
        return self.count_step(loss)

    def state(self) -> dict:
        critic = {"critic": self.critic.state_dict(), "critics_optimizer": self.critics_optimizer.state_dict()}
        return {**super().state(), **critic, "pool": self.pool.kept}

    def load_model(self, state: dict) -> None:
        super().load_model(state)
        self.critic.load_state_dict(state["critic"])
        self.pool.kept = state["pool"]

    def load_optimizer(self, state: dict) -> None:
        super().load_optimizer(state)
        self.critics_optimizer.load_state_dict(state["critics_optimizer"])


@fault(
    "pool-missing",
    verdict="DIFFERENT",
    step=4,
    phase="forward[2]",
    causes=(("pool/kept/*",),),
    fix='self.pool.kept = state["pool"]',
)
class PoolMissing(Adversaries):
    """The samples of before, which the critic is shown, too, are not restored: it sees other ones. The gradients that
    the first of the two losses leaves in the critic differ before that, and nothing hangs on them."""

    def load_model(self, state: dict) -> None:
        super().load_model({**state, "pool": []})


@fault(
    "critics-moments-missing",
    verdict="DIFFERENT",
    step=4,
    phase="update[2]",
    causes=(("critics_optimizer/*",),),
    fix='self.critics_optimizer.load_state_dict(state["critics_optimizer"])',
)
class CriticsMomentsMissing(Adversaries):
    """There are two optimizers, and one of them is restored."""

    def load_optimizer(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
