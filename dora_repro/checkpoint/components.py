"""Which component of a run a leaf belongs to, by its path, and what an exact resume would lack without it.

Components: model (or adapter), optimizer, scheduler, rng, data, progress, ema, scaler, other. A path says what its
writer called the thing, no more: for files of unknown layout this is a reading of names, and says so. Values are never
loaded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

COMPONENTS = (
    "model",
    "adapter",
    "optimizer",
    "scheduler",
    "rng",
    "data",
    "progress",
    "ema",
    "scaler",
    "other",
)
TORCH_CPU_STATE = (5056,)  # bytes of the state of torch's CPU generator
PYTHON_STATE = (625,)  # numbers of the state of Python's generator: 624 words and a place


@dataclass(frozen=True)
class Entry:
    """One leaf of a checkpoint, described.

    Attributes:
        path: of the leaf, its parts joined by "/".
        component: one of COMPONENTS.
        kind: "tensor", "array", "list", "text", "int", "float", "bool", "none", "bytes", "set", …
        dtype: of a tensor or array, without "torch.".
        shape: of a tensor or array; of a list, its length.
        nbytes: bytes of its elements.
        text: the value, where it is short.
    """

    path: str
    component: str
    kind: str
    dtype: str | None
    shape: tuple[int, ...] | None
    nbytes: int
    text: str = ""


@dataclass(frozen=True)
class Lack:
    """A part that an exact resume needs and the checkpoint does not hold.

    Attributes:
        part: a key of CONSEQUENCES.
        consequence: what follows, a sentence.
    """

    part: str
    consequence: str


CONSEQUENCES = {
    "model": "There are no parameters: training starts again from its first weights.",
    "optimizer": "The optimizer starts with empty state (AdamW: exp_avg, exp_avg_sq, step): the first "
    "resumed update already differs; without effect only where it keeps none, as SGD without momentum.",
    "scheduler": "A learning-rate schedule starts again from its first step; without effect only if the "
    "rate is constant.",
    "rng.torch": "Dropout, shuffling and all other draws from torch's generator continue from a different state.",
    "rng.numpy": "Augmentation and sampling that draw from numpy's generator continue from a different state.",
    "rng.python": "Augmentation and sampling that draw from Python's generator continue from a different state.",
    "rng.cuda": "Draws on CUDA devices (dropout there) continue from a different state; without effect on a CPU.",
    "data": "Neither the order of the data nor the position in it is known: the next batches differ, or are repeated.",
    "progress": "Step and epoch, and all that depends on them (early stopping, best loss, windows of epochs), "
    "start from zero unless the caller gives them.",
}

_BY_LAYOUT = {
    "kit": {"dora": "adapter", "optimizer": "optimizer", "scheduler": "scheduler", "rng": "rng"}
    | {"data": "data", "progress": "progress"},
    "study parameters": {"": "adapter"},
    "study random states": {"": "rng"},
    "peft weights": {"": "adapter"},
    "state_dict": {"": "model"},
    "optimizer": {"": "optimizer"},
    "lightning": {"state_dict": "model", "optimizer_states": "optimizer", "lr_schedulers": "scheduler"}
    | {"loops": "progress", "callbacks": "progress", "epoch": "progress", "global_step": "progress"}
    | {"native_amp_scaling_state": "scaler", "MixedPrecision": "scaler", "MixedPrecisionPlugin": "scaler"}
    | {"hyper_parameters": "other", "hparams_name": "other", "datamodule_hyper_parameters": "other"},
}

# Names of the files of Trainer, Accelerate, peft and study folders.
_BY_FILE = (
    (r"adapter_model.*", "adapter"),
    (r"epoch\d+_dora_params\.pth", "adapter"),
    (r"(pytorch_)?model.*\.(safetensors|bin|pt|pth)", "model"),
    (r"optimizer.*\.(pt|bin)", "optimizer"),
    (r"scheduler.*\.(pt|bin)", "scheduler"),
    (r"rng_state.*\.pth|random_states_\d+\.pkl|epoch\d+_random_states\.pth", "rng"),
    (r"sampler.*\.bin|dl_state_dict.*\.bin", "data"),
    (r"trainer_state\.json", "progress"),
    (r"scaler.*\.(pt|bin)", "scaler"),
    (r".*\.json|training_args\.bin", "other"),
)

# Words in the first part of a path, for everything else; the first that fits. `model_ema` is an average, not the model.
_BY_WORD = (
    (r"ema|swa|shadow|averaged|average", "ema"),
    (r"scaler|amp|loss_scale", "scaler"),
    (r"sched\w*|lr_sched\w*|warmup", "scheduler"),
    (r"optim\w*|opt|opts", "optimizer"),
    (r"rng\w*|random\w*|seeds?", "rng"),
    (r"data|dataset|\w*loader|\w*sampler|batch_idx|samples_seen", "data"),
    (r"dora\w*|lora\w*|adapters?|peft", "adapter"),
    (r"model\w*|state_dict|net|network|module|weights|params|backbone|encoder|decoder", "model"),
    (r"generator|discriminator|criterion|head", "model"),
    (r"\w*epochs?|\w*steps?|iter\w*|progress|counters?|history|metrics?", "progress"),
    (r"best\w*|\w*loss\w*|patience|early\w*", "progress"),
)


def component_of(path: str, layout: str, dtype: str | None, shape: tuple[int, ...] | None) -> str:
    """The component of a leaf.

    Args:
        path: of the leaf.
        layout: of its file, a key of `contents.LAYOUTS`.
        dtype: of a tensor or array, without "torch."; None for anything else.
        shape: of a tensor, array or list.
    """
    first, _, rest = path.partition("/")
    table = _BY_LAYOUT.get(layout)
    if table is not None:
        found = table.get("") or table.get(first, "other" if layout == "kit" else None)
        if layout == "lightning" and "combined_loader" in path:
            return "data"
        if found:
            return found
    for pattern, component in _BY_FILE:
        if re.fullmatch(pattern, first):
            return component
    if re.fullmatch(r".*\.(pt|pth|bin|ckpt|pkl|safetensors)", first) and rest:
        return component_of(rest, "generic", dtype, shape)
    found = _by_word(first)
    # What looks like the state of a generator is one, whatever its name; a loader's own belongs to the data.
    if dtype == "uint8" and shape == TORCH_CPU_STATE and found in ("model", "other"):
        return "rng"
    return found


def generators_found(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, with those that look like the state of numpy's or Python's generator moved to rng."""
    seats = {
        entry.path.rpartition("/")[0] + "/"
        for entry in entries
        if entry.component in ("model", "other")
        and (entry.text == "'MT19937'" or (entry.kind == "list" and entry.shape == PYTHON_STATE))
    }
    if not seats:
        return entries
    return tuple(
        replace(entry, component="rng") if entry.path.rpartition("/")[0] + "/" in seats - {"/"} else entry
        for entry in entries
    )


def _by_word(first: str) -> str:
    # camelCase and dots part words as underscores do.
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", first).lower().replace(".", "_").replace("-", "_")
    for pattern, component in _BY_WORD:
        if re.search(rf"(?:^|_)(?:{pattern})(?:$|_)", words):
            return component
    return "other"


def lacks(entries: Iterable[Entry], layout: str) -> tuple[Lack, ...]:
    """What an exact resume would lack, in the order in which a run would miss it.

    Args:
        entries: of one checkpoint.
        layout: of its file, a key of `contents.LAYOUTS`.
    """
    held: set[str] = set()
    for entry in entries:
        if layout == "kit" and entry.path == "rng/cuda":
            held.add("rng.cuda")  # an empty list says that no device was in use
        if entry.component == "rng":
            held |= {f"rng.{source}" for source in _generators(entry)}
        else:
            held.add("model" if entry.component == "adapter" else entry.component)
    if layout == "trainer" and "progress" in held:
        held.add("data")  # the Trainer finds its place again by its seed and by skipping `global_step` batches
    return tuple(Lack(part, text) for part, text in CONSEQUENCES.items() if part not in held)


def _generators(entry: Entry) -> set[str]:
    """Whose state an rng entry is: by what it looks like, else by its name; empty entries hold nothing."""
    path = entry.path.lower()
    if entry.kind == "none" or entry.shape == (0,):
        return set()
    if "cuda" in path:
        return {"cuda"}
    if entry.kind in ("tensor", "array") and entry.dtype == "uint8":
        return {"torch"}
    if entry.text == "'MT19937'" or re.search(r"numpy|(^|[/_.])np([/_.]|$)", path):
        return {"numpy"}
    if entry.kind == "list" and entry.shape == PYTHON_STATE:
        return {"python"}
    return set()
