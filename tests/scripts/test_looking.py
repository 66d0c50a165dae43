"""Where a script's lost state is looked for: what the first pass is given may be made of it, since the round began."""

from dora_repro.checks.report import Verdict
from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import script

AGENT = """
import copy, os, pickle, sys
import numpy as np
import torch


class Agent:
    def __init__(self):
        torch.manual_seed(0)
        self.drawn = np.random.RandomState(5)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-2)
        self.seen, self.at, self.done, self.noise = [], self.drawn.randn(3), 0, 1.0

    def learn(self):
        chosen = self.drawn.choice(len(self.seen), 4)
        before, after = (np.stack([self.seen[i][k] for i in chosen]) for k in range(2))
        inputs = torch.tensor(before, dtype=torch.float32)
        loss = ((self.model(inputs) - torch.tensor(after, dtype=torch.float32)[:, :2]) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def run(self, out, lose):
        while self.done < 12:
            for _ in range(2):
                following = 0.9 * self.at + self.noise * self.drawn.randn(3)
                self.seen.append((self.at, following))
                self.at = following
            self.seen, self.noise, self.done = self.seen[-8:], self.noise * 0.9, self.done + 1
            self.learn()
            if self.done % 3 == 0:
                kept = {name: value for name, value in self.__dict__.items() if name not in lose}
                with open(out + "/new.pkl", "wb") as file:
                    pickle.dump(kept, file)
                os.replace(out + "/new.pkl", out + "/agent.pkl")


agent = Agent()
if os.path.exists(sys.argv[1] + "/agent.pkl"):
    with open(sys.argv[1] + "/agent.pkl", "rb") as file:
        agent.__dict__.update(pickle.load(file))
agent.run(sys.argv[1], sys.argv[2:])
"""
"""Samples come from a buffer whose entries share arrays; all of it is pickled, but for what the last arguments name."""


def test_what_samples_are_made_of_is_the_cause_and_not_the_samples(tmp_path):
    lost = ("drawn", "seen")
    report = check_script(" ".join([script(tmp_path, AGENT), "{out}", *lost]))
    assert report.verdict is Verdict.DIFFERENT
    causes = {leaf for cause in report.causes for leaf in cause.leaves}
    assert all(any(f"{leaf}/".startswith(f"run/self/{name}/") for leaf in causes) for name in lost), report
    assert not any("learn/" in leaf for leaf in causes), report
