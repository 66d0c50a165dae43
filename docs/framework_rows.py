"""The rows of docs/frameworks.md: how training scripts are resumed, and what must come out of a check of each.

Nothing is run here. A row is a script of examples/frameworks with its options; it is checked at two kill points, and
what is expected of the report stands beside the reason. `make_frameworks.py` runs them and compares.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

KILL_AFTER = {12: 14, 15: 18}
"""Step of the save -> step to kill after. Step 12 ends the first epoch; step 15 is within the second."""

BEFORE = "torch 2.13.0, transformers 5.23.0, accelerate 1.15.0, lightning 2.6.6, peft 0.21.2"
"""What `Row.known` was measured with, by comparing final weights of such scripts without the kit."""

FOLDER = "examples/frameworks"
EXACT, LATENT, DIFFERENT = "EXACT", "LATENT", "DIFFERENT"


@dataclass(frozen=True)
class Framework:
    """A library that has its own way to save and to resume, and the script that uses it.

    Attributes:
        title: its name.
        libraries: distributions that the script needs, beside torch.
        script: the script's file.
        out: its option for the output folder.
        resume: its option that resumes.
        middle: its option to save every 15 steps; empty where it saves after each epoch alone.
        launcher: what comes between the interpreter and the script.
    """

    title: str
    libraries: tuple[str, ...]
    script: str
    out: str = "--out {out}"
    resume: str = "--resume {newest}"
    middle: str = "--save-every 15"
    launcher: str = ""


@dataclass(frozen=True)
class Expected:
    """What a check at one kill point must say.

    Attributes:
        verdict: `EXACT`, `LATENT` or `DIFFERENT`.
        step: step of the first difference.
        phase: its phase.
        leaf: its leaf, as a glob.
        causes: globs; each must match a leaf that the report names as a cause.
    """

    verdict: str
    step: int = 0
    phase: str = ""
    leaf: str = "*"
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A way to save and to resume.

    Attributes:
        name: short, unique.
        framework: the library.
        what: what it does, in words.
        why: why it has its verdicts.
        mends: what makes it exact; empty where nothing must.
        options: options of the script, of both commands.
        resuming: options of the resume alone.
        lost: what `planted.py` takes from the checkpoint before the resume; empty for nothing.
        at: what is expected, by the step of the save.
        resume: the option that resumes, where it is not the framework's.
        advised: what comes of the advice: step of the save -> the row that has taken it, and the step of its save.
        known: whether final weights were all equal when this was measured before (`BEFORE`), by the step of the save.
        kill_after: the step to kill after, where it is not that of `KILL_AFTER`: of a row whose steps are several
            batches each.
    """

    name: str
    framework: Framework
    what: str
    why: str
    at: dict[int, Expected]
    mends: str = ""
    options: str = ""
    resuming: str = ""
    lost: str = ""
    resume: str = ""
    kill_after: int | None = None
    advised: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    known: Mapping[int, bool] = field(default_factory=dict)

    def killed(self, saved: int) -> int:
        """The step to kill after, for a save after a step."""
        return self.kill_after or KILL_AFTER[saved]

    def run(self, saved: int) -> str:
        """The command that trains, for a save after a step."""
        given = self.framework
        middle = given.middle if saved == 15 else ""
        return _joined("{python}", given.launcher, f"{FOLDER}/{given.script}", given.out, middle, self.options)

    def resumed(self, saved: int) -> str:
        """The command that resumes."""
        command = _joined(self.run(saved), self.resume or self.framework.resume, self.resuming)
        if self.lost:
            return _joined("{python}", f"{FOLDER}/planted.py", self.lost, "{newest} --", command)
        return command

    def check(self, saved: int) -> tuple[str, ...]:
        """The command line of the check, after `dora-repro`."""
        return (
            *("check", "--run", self.run(saved), "--kill-after", str(self.killed(saved))),
            *("--resume", self.resumed(saved)),
        )


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


PLAIN = Framework("Plain PyTorch", (), "plain_torch.py")
TRAINER = Framework(
    "transformers: Trainer",
    ("transformers", "accelerate"),
    "hf_trainer.py",
    out="--output-dir {out}",
    middle="--save-steps 15",
)
LIGHTNING = Framework("Lightning", ("lightning",), "lightning_fit.py", resume="--ckpt {newest}", middle="--every 15")
ACCELERATE = Framework("Accelerate", ("accelerate",), "accelerate_loop.py", middle="--checkpointing-steps 15")
PEFT = Framework("peft", ("peft", "transformers"), "peft_adapter.py", middle="")
DDP = Framework(
    "DistributedDataParallel",
    (),
    "ddp.py",
    resume="--resume {out}/snapshot1.pt",
    middle="",
    launcher="-m torch.distributed.run --standalone --nproc-per-node 2",
)
IGNITE = Framework("Ignite", ("pytorch-ignite",), "ignite_engine.py")

GENERATOR = "rng/torch.cpu"
DRAWS, DATA, POSITION = "rng/draws", "data/batches", "data/position"
OPTIMIZER = ("*/step", "*/exp_avg", "*/exp_avg_sq")
SCHEDULE = ("*/lr", "*/last_epoch")

ROWS = (
    Row(
        "plain",
        PLAIN,
        "model, optimizer, schedule and the position in the data are saved; batches that were used are passed over",
        "No generator is saved. The order of an epoch is drawn from it when the loop over the loader begins, so the "
        "resumed epoch comes in another order.",
        {
            12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR,)),
            15: Expected(DIFFERENT, 16, "batch", "batch/0", (DRAWS,)),
        },
        "At the end of an epoch: save and restore `torch.get_rng_state()` (row *plain, generator*). Within one: also "
        "the generator as it was when the epoch began (row *plain, both generators*).",
        advised={12: ("plain, generator", 12), 15: ("plain, both generators", 15)},
        known={12: False, 15: False},
    ),
    Row(
        "plain, generator",
        PLAIN,
        "the same and `torch.get_rng_state()` as it is at the save, restored before the loop",
        "At the end of an epoch the generator is all that the next one's order depends on. Within an epoch the order "
        "was drawn at its start, from a state that the saved one has left behind.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "batch", "batch/0", (DRAWS,))},
        "Keep the generator as it was at the epoch's start, too (next row).",
        options="--keep-rng now",
        advised={15: ("plain, both generators", 15)},
        known={12: True, 15: False},
    ),
    Row(
        "plain, both generators",
        PLAIN,
        "the same, and within an epoch the generator as it was at its start: restored before the loop over the loader, "
        "the other one after the batches that are passed over",
        "The order is drawn again as it was, and dropout goes on where it was.",
        {12: Expected(EXACT), 15: Expected(EXACT)},
        options="--keep-rng epoch",
    ),
    # --- transformers' Trainer
    Row(
        "Trainer",
        TRAINER,
        "`trainer.train(resume_from_checkpoint=folder)`",
        "The order comes from the seed and the epoch's number, and the generators are read back after the batches that "
        "are passed over.",
        {12: Expected(EXACT), 15: Expected(EXACT)},
        known={12: True, 15: True},
    ),
    Row(
        "Trainer, evaluation and accumulation",
        TRAINER,
        "the same with evaluation before each save, two batches an update and a worker that loads them",
        "As above; evaluation draws nothing, and no save falls into an accumulation window.",
        {15: Expected(EXACT)},
        options="--epochs 6 --evaluate --accumulate 2 --workers 1",
        known={15: True},
    ),
    Row(
        "Trainer, random augmentation",
        TRAINER,
        "the same with samples that `__getitem__` changes at random",
        "Within an epoch the first batch is fetched, and augmented, before the Trainer reads its generators back; the "
        "ones that are passed over are never drawn, so that dropout's generator is behind as well.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "batch", "batch/input_ids", (DATA, GENERATOR))},
        "Draw the augmentation from a generator of the sample: `torch.Generator().manual_seed(hash((epoch, index)))`; "
        "or save at the end of epochs.",
        options="--augment",
        advised={15: ("Trainer, random augmentation", 12)},
        known={12: True, 15: False},
    ),
    Row(
        "Trainer, grouped by length",
        TRAINER,
        '`train_sampling_strategy="group_by_length"`',
        "This sampler draws its order from the global generator when an epoch begins, and not from seed and epoch.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "batch", "batch/*", (DRAWS,))},
        "Save at the end of epochs, or leave the strategy at `random`.",
        options="--group-by-length",
        advised={15: ("Trainer, grouped by length", 12)},
        known={15: False},
    ),
    Row(
        "Trainer, ignore_data_skip",
        TRAINER,
        "`ignore_data_skip=True`",
        "The epoch begins anew after a resume, as documented: the batches are others, and it ends three steps later. "
        "Its order comes from the seed and the epoch's number, so that it does where the loader passes over three "
        "batches. The generator is read back before the loop, and drawn from where that begins.",
        {15: Expected(DIFFERENT, 16, "batch", "batch/*", (POSITION, GENERATOR))},
        "Leave `ignore_data_skip` at False.",
        options="--ignore-data-skip",
        advised={15: ("Trainer", 15)},
        known={15: False},
    ),
    Row(
        "Trainer, ViT",
        TRAINER,
        "a ViT in place of the GPT-2",
        "transformers 5 has other names for the weights of some models than their files, and converts them where it "
        "writes a model and where `from_pretrained` reads one. The Trainer resumes by `load_state_dict`, not strictly: "
        "what has another name in the file is not loaded. It warns of missing keys, and goes on with initial values.",
        {12: Expected(DIFFERENT, 12, "load", "*", ("*.weight", "*.bias"))},
        options="--vit",
    ),
    Row(
        "Trainer, save_only_model",
        TRAINER,
        "`save_only_model=True`",
        "Neither the optimizer nor the schedule nor the generators are saved, as documented.",
        {12: Expected(DIFFERENT, 12, "load", "*/lr", (*OPTIMIZER, *SCHEDULE, GENERATOR))},
        "Leave `save_only_model` at False.",
        options="--save-only-model",
        advised={12: ("Trainer", 12)},
        known={12: False},
    ),
    Row(
        "Trainer, optimizer.pt lost",
        TRAINER,
        "`optimizer.pt` is taken from the checkpoint before the resume",
        "Where one of `optimizer.pt` and `scheduler.pt` is missing the Trainer loads neither, and says nothing.",
        {15: Expected(DIFFERENT, 15, "load", "*/lr", (*OPTIMIZER, *SCHEDULE))},
        "Resume from a folder that has both files.",
        lost="no-optimizer",
        advised={15: ("Trainer", 15)},
        known={15: False},
    ),
    Row(
        "Trainer, scheduler.pt lost",
        TRAINER,
        "`scheduler.pt` is taken from the checkpoint before the resume",
        "As above: with `scheduler.pt` the moments of the optimizer are lost as well, though their file is there.",
        {15: Expected(DIFFERENT, 15, "load", "*/lr", (*OPTIMIZER, *SCHEDULE))},
        "Resume from a folder that has both files.",
        lost="no-scheduler",
        advised={15: ("Trainer", 15)},
        known={15: False},
    ),
    Row(
        "Trainer, rng_state.pth lost",
        TRAINER,
        "`rng_state.pth` is taken from the checkpoint before the resume",
        "The order does not depend on the global generator, dropout does.",
        {
            12: Expected(DIFFERENT, 13, "forward", "outputs/*", (GENERATOR,)),
            15: Expected(DIFFERENT, 16, "forward", "outputs/*", (GENERATOR,)),
        },
        "Resume from a folder that has the file.",
        lost="no-rng",
        advised={12: ("Trainer", 12), 15: ("Trainer", 15)},
    ),
    # --- Lightning
    Row(
        "Lightning",
        LIGHTNING,
        "`trainer.fit(model, loader, ckpt_path=file)`",
        "No generator is in a `.ckpt`. A resume within an epoch begins the epoch's remaining batches in a new order, "
        "from its beginning.",
        {
            12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR,)),
            15: Expected(DIFFERENT, 16, "batch", "batch/0", (POSITION, DRAWS)),
        },
        "At the end of epochs: let order and dropout depend on the epoch's number (row *Lightning, seeded by epoch*); "
        "within one: torchdata's `StatefulDataLoader` and a callback that keeps the generators (row *Lightning, "
        "StatefulDataLoader and generators*).",
        advised={12: ("Lightning, seeded by epoch", 12), 15: ("Lightning, StatefulDataLoader and generators", 15)},
        known={12: False, 15: False},
    ),
    Row(
        "Lightning, generators kept",
        LIGHTNING,
        "the same with a callback that saves `torch.get_rng_state()` and restores it with the first batch",
        "The generator comes back after the order of the epoch was drawn from another one.",
        {12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR,))},
        "Let order and dropout depend on the epoch's number (next row).",
        options="--keep-rng",
        advised={12: ("Lightning, seeded by epoch", 12)},
    ),
    Row(
        "Lightning, seeded by epoch",
        LIGHTNING,
        "a sampler whose order comes from seed and epoch, and a callback that seeds torch with the first batch of each",
        "Neither the order nor dropout depends on what was drawn before, or on when the loader's iterator was made.",
        {12: Expected(EXACT)},
        options="--seed-epochs",
    ),
    Row(
        "Lightning, StatefulDataLoader",
        LIGHTNING,
        "the same with torchdata's `StatefulDataLoader`",
        "Within an epoch the loader restores its own order and position, so that dropout is what differs: no generator "
        "is kept. At the end of one it restores its sampler's generator as it was when that epoch's order was drawn.",
        {
            12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR, "main/train/sampler/generator")),
            15: Expected(DIFFERENT, 16, "forward", "outputs/*", (GENERATOR,)),
        },
        "Keep the generators, too (next row).",
        options="--stateful",
        advised={12: ("Lightning, seeded by epoch", 12), 15: ("Lightning, StatefulDataLoader and generators", 15)},
        known={12: False, 15: False},
    ),
    Row(
        "Lightning, StatefulDataLoader and generators",
        LIGHTNING,
        "both: the loader, and the callback that keeps the generator",
        "Order and position come from the loader, dropout's generator from the callback.",
        {15: Expected(EXACT)},
        options="--stateful --keep-rng",
    ),
    Row(
        "Lightning, moments emptied",
        LIGHTNING,
        "the moments in the `.ckpt` are emptied before the resume",
        "The order differs first, since no generator is in the file; moments are missing besides, and both are needed.",
        {12: Expected(DIFFERENT, 13, "batch", "batch/0", (*OPTIMIZER, GENERATOR))},
        "Resume from the file as it was written, and seed by epoch.",
        lost="no-moments",
        advised={12: ("Lightning, seeded by epoch", 12)},
    ),
    # --- Accelerate
    Row(
        "Accelerate",
        ACCELERATE,
        "`save_state`, `load_state`, and `skip_first_batches` within an epoch, as in its own example",
        "`load_state` restores the generators, which is all that the next epoch's order depends on. Within one the "
        "order was drawn at its start, from a state that the saved one has left behind.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "batch", "batch/0", (DRAWS,))},
        "`use_seedable_sampler=True` for the order (next row).",
        advised={15: ("Accelerate", 12)},
        known={12: True, 15: False},
    ),
    Row(
        "Accelerate, seedable sampler",
        ACCELERATE,
        "`DataLoaderConfiguration(use_seedable_sampler=True)`",
        "Order and position are right. The iterator that is made after `load_state` draws one number, so that dropout "
        "differs within an epoch.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "forward", "outputs/*", (GENERATOR,))},
        "Restore the generators once more after the loop over the loader has begun.",
        options="--seedable",
        advised={15: ("Accelerate", 12)},
        known={12: True, 15: False},
    ),
    Row(
        "Accelerate, stateful loader",
        ACCELERATE,
        "`DataLoaderConfiguration(use_stateful_dataloader=True)`",
        "The stateful loader draws its order from the global generator when it is made again, which `load_state` "
        "restores at another moment.",
        {
            12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR,)),
            15: Expected(DIFFERENT, 16, "batch", "batch/0", (DRAWS,)),
        },
        "Leave it out: at the end of an epoch `load_state` by itself is exact (row *Accelerate*).",
        options="--stateful",
        advised={12: ("Accelerate", 12)},
        known={12: False, 15: False},
    ),
    Row(
        "Accelerate, stateful and seedable",
        ACCELERATE,
        "both: the stateful loader and the seedable sampler",
        "Order and position are right, dropout is not: a generator was drawn from after `load_state`.",
        {15: Expected(DIFFERENT, 16, "forward", "outputs/*", (GENERATOR,))},
        "Restore the generators once more after the loop over the loader has begun.",
        options="--stateful --seedable",
        advised={15: ("Accelerate", 12)},
        known={15: False},
    ),
    Row(
        "Accelerate, saved inside a window",
        ACCELERATE,
        "five batches an update and a save after 15 batches, three of them into a window that ends with the epoch",
        "The gradients of the window so far are in no checkpoint.",
        {15: Expected(DIFFERENT, 4, "batch", "batch/0", ("*/grad",))},
        "Save where `accelerator.sync_gradients` is true.",
        options="--accumulate 5",
        kill_after=5,
        known={15: False},
    ),
    Row(
        "Accelerate, moments emptied",
        ACCELERATE,
        "the moments in `optimizer.bin` are emptied before the resume",
        "Batches, outputs and gradients are right, the update is not.",
        {12: Expected(DIFFERENT, 13, "update", "*", OPTIMIZER)},
        "Resume from the folder as it was written.",
        lost="no-moments",
        advised={12: ("Accelerate", 12)},
    ),
    # --- peft
    Row(
        "peft, from_pretrained",
        PEFT,
        "`save_pretrained` at the end of each epoch, `PeftModel.from_pretrained(base, folder)`",
        "The folder has the adapter alone, so moments and schedule begin anew. And it is loaded for inference by "
        "default: nothing in it asks for gradients, and the first `backward` fails, unless what asks for them is put "
        "back before the forward pass.",
        {
            12: Expected(
                DIFFERENT, 12, "load", "*/lr", (*OPTIMIZER, *SCHEDULE, GENERATOR, "*/requires_grad", "*/params")
            )
        },
        "`is_trainable=True` (next row).",
        advised={12: ("peft, is_trainable", 12)},
    ),
    Row(
        "peft, is_trainable",
        PEFT,
        "the same with `is_trainable=True`",
        "The folder has the adapter alone: no moments, no schedule, no generator.",
        {12: Expected(DIFFERENT, 12, "load", "*/lr", (*OPTIMIZER, *SCHEDULE, GENERATOR))},
        "Save them beside it (next row).",
        resuming="--trainable",
        advised={12: ("peft, all saved", 12)},
        known={12: False},
    ),
    Row(
        "peft, all saved",
        PEFT,
        "a LoRA adapter, and beside it optimizer, schedule and `torch.get_rng_state()`",
        "Nothing that a step needs is missing. `save_pretrained` writes the class of the base model into the adapter's "
        "configuration (`auto_mapping`), which is None in the process that trains: what `from_pretrained` reads has it "
        "from then on, and no step reads it. The report says so beside the verdict.",
        {12: Expected(EXACT)},
        options="--trainable --keep-state",
        known={12: True},
    ),
    Row(
        "peft, all saved, DoRA",
        PEFT,
        "the same with `use_dora=True`",
        "As above.",
        {12: Expected(EXACT)},
        options="--dora --trainable --keep-state",
        known={12: True},
    ),
    # --- DDP
    Row(
        "DDP",
        DDP,
        "rank 0 saves model, optimizer and schedule; `DistributedSampler.set_epoch` before each epoch",
        "Batches are right: their order comes from the seed and the epoch. Dropout is not, on either rank, since no "
        "generator is saved.",
        {12: Expected(DIFFERENT, 13, "forward", "outputs/*", (GENERATOR,))},
        "Let each rank keep its own generator (row *DDP, generators kept*).",
        advised={12: ("DDP, generators kept", 12)},
        known={12: False},
    ),
    Row(
        "DDP, no dropout",
        DDP,
        "the same without dropout",
        "Nothing draws from the generators that are lost: no step differs, and they are lost all the same.",
        {12: Expected(LATENT)},
        options="--dropout 0",
        advised={12: ("DDP, generators kept", 12)},
        known={12: True},
    ),
    Row(
        "DDP, generators kept",
        DDP,
        "each rank keeps its own generator",
        "Nothing is missing.",
        {12: Expected(EXACT)},
        options="--keep-rng",
        known={12: True},
    ),
    Row(
        "DDP, set_epoch after the epoch",
        DDP,
        "the sampler is told the next epoch at the end of each: the resumed process has not told it yet; no dropout",
        "The first resumed epoch comes in the order of epoch 0.",
        {12: Expected(DIFFERENT, 13, "batch", "batch/0", ("*sampler/epoch",))},
        "Call `sampler.set_epoch(epoch)` before each epoch.",
        options="--dropout 0 --set-epoch after",
        advised={12: ("DDP, no dropout", 12)},
    ),
    Row(
        "DDP, set_epoch never",
        DDP,
        "the sampler is never told the epoch; no dropout",
        "The order is the same in each epoch, resumed or not: a loss for the training, and none for the resume. What "
        "is lost is the generators, as above.",
        {12: Expected(LATENT)},
        options="--dropout 0 --set-epoch never",
        advised={12: ("DDP, generators kept", 12)},
    ),
    # --- Ignite
    Row(
        "Ignite",
        IGNITE,
        "`Checkpoint.load_objects` of trainer, model, optimizer and schedule",
        "No generator is saved. Within an epoch the resumed engine begins the loader anew, in an order that is drawn "
        "from another state, and makes as many steps of it as the epoch had left; it goes on with the rest of that "
        "order in the next.",
        {
            12: Expected(DIFFERENT, 13, "batch", "batch/0", (GENERATOR,)),
            15: Expected(DIFFERENT, 16, "batch", "batch/0", (POSITION, DRAWS)),
        },
        "`DeterministicEngine`, saved at the end of epochs (next row).",
        advised={12: ("Ignite, DeterministicEngine", 12), 15: ("Ignite, DeterministicEngine", 12)},
    ),
    Row(
        "Ignite, DeterministicEngine",
        IGNITE,
        "the same with `DeterministicEngine`",
        "It keeps generators for the end of an epoch. Within one neither the order nor dropout comes back: with both "
        "put back the run is the same.",
        {12: Expected(EXACT), 15: Expected(DIFFERENT, 16, "batch", "batch/0", (DRAWS, GENERATOR))},
        "Save at the end of epochs.",
        options="--deterministic",
        advised={15: ("Ignite, DeterministicEngine", 12)},
    ),
)


def checks() -> Iterator[tuple[Row, int]]:
    """Each row with the step of each save at which it is checked."""
    return ((row, saved) for row in ROWS for saved in row.at)
