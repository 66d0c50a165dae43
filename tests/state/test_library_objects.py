"""What training libraries keep for their logs is told apart, and is state like any other where more depends on it."""

import weakref

import pytest
import torch

import dora_repro
from dora_repro import Verdict
from dora_repro.state.leaves import LOG
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.walk import walk
from tests import runs


def of(name, **attributes):
    """An object of a class that a library would have."""
    module, _, last = name.rpartition(".")
    made = type(last, (), {"__module__": module})()
    vars(made).update(attributes)
    return made


def trainer(**attributes):
    return of("transformers.trainer.Trainer", **attributes)


def project(automatic):
    name = "accelerate.utils.dataclasses.ProjectConfiguration"
    return of(name, iteration=3, automatic_checkpoint_naming=automatic)


def test_what_a_log_is_made_of_has_a_role_of_its_own_and_what_else_there_is_has_not():
    mine = type("Mine", (type(trainer()),), {"__module__": "train"})()
    mine._tr_loss, mine.count = torch.ones(()), 2
    leaves = walk({"it": mine})
    assert leaves["it/_tr_loss"].role == LOG and leaves["it/count"].role == "memory"
    assert walk({"it": project(automatic=False)})["it/iteration"].role == LOG
    assert walk({"it": project(automatic=True)})["it/iteration"].role == "memory"
    for n_saved, role in ((None, LOG), (3, "memory")):
        handler = of("ignite.handlers.checkpoint.Checkpoint", _saved=["a.pt"], n_saved=n_saved)
        leaves = walk({"it": handler})
        assert {leaf.role for path, leaf in leaves.items() if path.startswith("it/_saved")} == {role}


class Counted(torch.utils.data.Sampler):
    def set_epoch(self, epoch):
        self.epoch = epoch


@pytest.mark.parametrize("name", ["DataLoaderShard", "DataLoaderDispatcher"])
def test_the_epochs_of_a_prepared_loader_count_where_a_sampler_is_told_of_them(name):
    data = torch.utils.data.TensorDataset(torch.zeros(8, 2))
    told = type("Told", (torch.utils.data.TensorDataset,), {"set_epoch": lambda self, epoch: None})(torch.zeros(8, 2))
    sampler = torch.utils.data.BatchSampler(Counted(), 2, drop_last=False)
    wrapped = torch.utils.data.BatchSampler(sampler, 2, drop_last=False)
    wrapped.batch_sampler = sampler
    loaders = {
        torch.utils.data.DataLoader(data, batch_size=2, shuffle=True): LOG,
        torch.utils.data.DataLoader(data, sampler=Counted()): "memory",
        torch.utils.data.DataLoader(data, batch_sampler=sampler): "memory",
        torch.utils.data.DataLoader(data, batch_sampler=wrapped): "memory",
        torch.utils.data.DataLoader(told): "memory",
    }
    for base, role in loaders.items():
        loader = of(f"accelerate.data_loader.{name}", base_dataloader=base, iteration=1, skip_batches=2)
        leaves = walk({"it": loader})
        assert (leaves["it/iteration"].role, leaves["it/skip_batches"].role) == (role, "memory")


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_the_optimizers_of_a_lightning_trainer_have_its_own_words_for_them(package):
    def fit(rate):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate, momentum=0.9)
        schedule = of("lightning.LRSchedulerConfig", scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2))
        strategy = of("lightning.Strategy", _optimizers=[optimizer], lr_scheduler_configs=[schedule])
        connector = of("lightning.Connector", _strategy_flag=strategy, strategy=strategy)
        return of(f"{package}.trainer.trainer.Trainer", _accelerator_connector=connector, count=2)

    leaves = walk({"it": fit(0.1)})
    assert leaves["it/optimizers/0/group.0/lr"].value == 0.1 and leaves["it/count"].value == 2
    assert "it/lr_scheduler_configs/0/scheduler/step_size" in leaves
    assert not [path for path, leaf in leaves.items() if "strategy" in path and leaf.role not in ("alias", "structure")]
    other = fit(0.3)
    assert Snapshot.capture({"it": fit(0.1)}).restore({"it": other}) == {}
    assert other._accelerator_connector.strategy._optimizers[0].param_groups[0]["lr"] == 0.1


def test_a_lightning_trainer_that_has_no_strategy_is_read_like_any_other():
    leaves = walk({"it": of("lightning.pytorch.trainer.trainer.Trainer", _accelerator_connector=None, count=2)})
    assert leaves["it/count"].value == 2 and not any("optimizers" in path for path in leaves)


def test_weak_references_to_loaders_are_named_as_not_captured_and_what_is_beside_them_counts():
    loader = runs.Loader()
    state = of("accelerate.state.GradientState", sync=True, _dataloader_references_ref=[None, weakref.ref(loader)])
    found = walk({"it": state})
    assert "it/sync" in found.leaves and not any("references" in path for path in found.leaves)
    assert found.uncaptured == {"it/_dataloader_references_ref": "weak references"}


def test_what_callbacks_exported_at_the_last_save_is_not_their_state():
    exported = {"EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": 1}}}
    state = of("transformers.trainer_callback.TrainerState", global_step=4, stateful_callbacks=exported)
    found = walk({"it": state})
    assert [*found.leaves] == ["it/global_step"] and [*found.uncaptured] == ["it/stateful_callbacks"]


def test_it_can_be_put_back():
    one, two = trainer(_tr_loss=torch.ones(())), trainer(_tr_loss=torch.zeros(()))
    assert Snapshot.capture({"it": one}).restore({"it": two}) == {}
    assert two._tr_loss.item() == 1.0


class Logged(runs.Plain):
    """Right, but for the loss that is summed for the log, and for a counter of its own where `loses` says so."""

    loses = False

    def __init__(self):
        super().__init__()
        self.trainer = trainer(_tr_loss=torch.zeros(()), count=0)

    def step(self):
        loss = super().step()
        self.trainer._tr_loss += loss
        self.trainer.count += 1 if self.loses else 0
        return loss


class Loses(Logged):
    loses = True


@pytest.mark.parametrize(("kind", "verdict"), [(Logged, Verdict.EXACT), (Loses, Verdict.LATENT)])
def test_a_loss_of_what_the_log_alone_is_made_of_is_told_and_does_not_count(kind, verdict):
    report = dora_repro.check(kind, steps=6, save_at=3, in_process=True)
    assert report.verdict is verdict, report
    assert report.set_aside.logs == ("trainer/_tr_loss",)
    assert "Lost, but for a library's logs and counts alone: trainer/_tr_loss" in str(report)
