"""Which component of a run each value of a checkpoint belongs to, and what an exact resume would lack.

Components: model (or adapter), optimizer, scheduler, rng, data, progress, ema, scaler, other. The form of a value
decides (`forms.py`), then the keys that lead to it, from the top down; the name of a file says what is in it only where
neither does. Tensors are never loaded.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dora_repro.checkpoint.forms import GENERATORS, Form, form_of, is_number, is_tensor
from dora_repro.checkpoint.guard import FileValue

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


class Entry(NamedTuple):
    """One leaf of a checkpoint, described.

    Attributes:
        path: of the leaf, its parts joined by "/".
        component: one of COMPONENTS.
        kind: "tensor", "array", "list", "text", "int", "float", "bool", "none", "bytes", "set", …
        dtype: of a tensor or array, without "torch.".
        shape: of a tensor or array; of a list, its length.
        nbytes: bytes of its elements.
        text: the value, where it is short.
        form: what it is, or is a part of, by its form, as "numpy generator" or "optimizer state"; empty where its form
            says nothing.
    """

    path: str
    component: str
    kind: str
    dtype: str | None
    shape: tuple[int, ...] | None
    nbytes: int
    text: str = ""
    form: str = ""


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

# Layouts whose keys are known: what lies under each. "" is what lies under any.
_BY_LAYOUT: Mapping[str, Mapping[str, str]] = {
    "kit": {"dora": "adapter", "optimizer": "optimizer", "scheduler": "scheduler", "rng": "rng"}
    | {"data": "data", "progress": "progress", "": "other"},
    "accelerate states": {"step": "other"},  # of gradient accumulation: where a run stands, its own loop knows
    "lightning": {"state_dict": "model", "optimizer_states": "optimizer", "lr_schedulers": "scheduler"}
    | {"loops": "progress", "callbacks": "progress", "epoch": "progress", "global_step": "progress"}
    | {"native_amp_scaling_state": "scaler", "MixedPrecision": "scaler", "MixedPrecisionPlugin": "scaler"}
    | {"hyper_parameters": "other", "hparams_name": "other", "datamodule_hyper_parameters": "other"},
}

# Words in a key; the first that fits. `model_ema` is an average, not the model.
_BY_WORD = (
    (r"config\w*|cfg|args|arguments|hparams|hyper\w*|settings|options|arch|architecture|version", "settings"),
    (r"ema|swa|shadow|averaged|average", "ema"),
    (r"scaler|amp|loss_scale", "scaler"),
    (r"sched\w*|lr_sched\w*|warmup", "scheduler"),
    (r"optim\w*|opt|opts", "optimizer"),
    (r"data|dataset|\w*loader|\w*sampler|batch_idx|samples_seen", "data"),
    (r"rng\w*|random\w*|seeds?", "rng"),
    (r"dora\w*|lora\w*|adapters?|peft", "adapter"),
    (r"model\w*|state_dict|net|network|module|weights|params|backbone|encoder|decoder", "model"),
    (r"generator|discriminator|criterion|head", "model"),
    (r"\w*epochs?|\w*steps?|iter\w*|progress|counters?|history|metrics?", "progress"),
    (r"best\w*|\w*loss\w*|patience|early\w*", "progress"),
)
_WORDS = [(re.compile(rf"(?:^|_)(?:{pattern})(?:$|_)"), component) for pattern, component in _BY_WORD]
_ANY_WORD = re.compile(rf"(?:^|_)(?:{'|'.join(pattern for pattern, _ in _BY_WORD)})(?:$|_)")
_DIGITS = re.compile(r"[0-9]+")
_CAMEL = re.compile(r"([a-z0-9])([A-Z])")
_PARTING = str.maketrans(".- ", "___")
_PARAMETER = re.compile(
    r"(?:.*[._])?(?:weight|bias|gamma|beta|running_mean|running_var|num_batches_tracked|m|delta_D_[AB]|lora_\w+)"
)
_ADAPTER = re.compile(r".+\.(?:m|D|delta_D_[AB]|lora_\w+(?:\..+)?)")
_OF_CUDA = re.compile(r"cuda|gpu|rng|random|generator|seed")
_BY_FORM = {
    Form.OPTIMIZER: "optimizer",
    Form.SCHEDULER: "scheduler",
    Form.SCALER: "scaler",
    Form.LOADER: "data",
    Form.SETTINGS: "settings",
}
_PLAIN = frozenset((int, float, bool, str, type(None)))
_LOOSE = ("", "rng", "progress")  # what a key inside may still change
_BESIDE_MODEL = ("optimizer", "scheduler", "scaler", "rng", "ema")  # what may lie under a key such as `model_state`


class Role(NamedTuple):
    """What a value on the way through a file is.

    Attributes:
        component: one of COMPONENTS; "settings" for what only describes the run; empty where nothing said it.
        form: what it is by its form, or lies in.
        settled: whether no key inside may change the component.
        named: the keys that lead to it, in small letters.
    """

    component: str = ""
    form: Form = Form.NONE
    settled: bool = False
    named: str = ""


_TOP = Role()
_COUNT = Role("progress")  # of (model, optimizer, 3)


def judge(around: Role, key: FileValue, value: FileValue) -> Role:
    """What a value is, by its form, else by its key, else as what is around it.

    Args:
        around: what the container is.
        key: of the value in the container; None at the top of a file.
        value: as the file holds it.
    """
    if type(value) in _PLAIN and (told := _of_plain(around, key, value)) is not None:
        return told
    named = f"{around.named}/{key}".lower() if isinstance(key, str) else around.named
    around = Role(around.component, around.form, around.settled, named)
    if around.form not in (Form.NONE, Form.TENSORS, Form.MODULE):
        # Inside a known form; a generator in the state of a loader or an optimizer stays one, and theirs.
        form = form_of(value)
        return around._replace(form=form) if form in GENERATORS and around.form not in GENERATORS else around
    word = by_word(key) if isinstance(key, str) else ""
    form = form_of(value)
    if form in GENERATORS:
        if form is not Form.CUDA or _OF_CUDA.search(named) or around.component == "rng":
            owned = around.component in ("data", "ema") or word == "data"
            return around._replace(component="data" if owned else "rng", form=form, settled=True)
        form = Form.NONE
    if form in _BY_FORM:
        return around._replace(component=_BY_FORM[form], form=form, settled=True)
    if around.settled:
        return around
    if form is Form.MODULE:
        return around._replace(component="ema" if word == "ema" else "model", form=form, settled=True)
    return _by_key(around, word, form, key, value)


def _of_plain(around: Role, key: FileValue, value: FileValue) -> Role | None:
    """What a plain value is that lies in something known, or whose key says nothing: nearly all values of a large
    file. None for any other."""
    if isinstance(key, int) and (around.settled or around.form is Form.NONE):
        return _COUNT if around == _TOP and is_number(value) else around
    if isinstance(key, str) and (around.settled or (around.form is Form.NONE and not by_word(key))):
        # It is asked of generators alone by which name they go.
        return around._replace(named=f"{around.named}/{key}".lower()) if around.component == "rng" else around
    return None


def _by_key(around: Role, word: str, form: Form, key: FileValue, value: FileValue) -> Role:
    """What the key says of a value that is nothing by its form but perhaps a state_dict."""
    if form is Form.TENSORS:
        speaks = word not in ("", "rng", "progress") and (around.component in _LOOSE or word == "ema")
        return around._replace(component=word if speaks else around.component or _of_names(value), form=form)
    if around.form is Form.TENSORS:
        # The parameters of a state_dict are not read word by word (`data_bn.weight`); what the loop added to them is.
        return around if is_tensor(value) else around._replace(component=word or "other", form=Form.NONE)
    if not around.component and is_tensor(value) and isinstance(key, str) and "." in key and _PARAMETER.fullmatch(key):
        return around._replace(component="adapter" if _ADAPTER.fullmatch(key) else "model")
    if word == "settings":
        return around._replace(component=word, settled=True)
    if around.component == "model":
        inside = word in _BESIDE_MODEL and isinstance(value, (Mapping, list, tuple))
        return around._replace(component=word) if inside or (word == "progress" and is_number(value)) else around
    if word and around.component in _LOOSE:
        return around._replace(component=word)
    if around == _TOP and isinstance(key, int) and is_number(value):
        return _COUNT
    if not around.component and is_tensor(value) and isinstance(key, str) and _PARAMETER.fullmatch(key):
        return around._replace(component="model")
    return around


def _of_names(value: FileValue) -> str:
    """Whether names are those of an adapter, most of them, or of a whole model."""
    names = [key for key, inner in value.items() if is_tensor(inner)] if isinstance(value, Mapping) else []
    of_adapter = [name for name in names if isinstance(name, str) and _ADAPTER.fullmatch(name)]
    return "adapter" if 2 * len(of_adapter) > len(names) else "model"


def by_word(name: str) -> str:
    """The component that a key speaks of, "settings" for what only describes the run; empty where it says nothing."""
    return _by_word(_DIGITS.sub("0", name))  # no word hangs on a number: the names of a large file are a few kinds


@lru_cache(4096)
def _by_word(name: str) -> str:
    # camelCase and dots part words as underscores do.
    words = name if name.islower() else _CAMEL.sub(r"\1_\2", name).lower()
    words = words.translate(_PARTING)
    if _ANY_WORD.search(words):
        for pattern, component in _WORDS:
            if pattern.search(words):
                return component
    return ""


def role_in_layout(layout: str, key: FileValue) -> Role | None:
    """What lies under a top-level key of a layout that is known; None where it does not say.

    Args:
        layout: of the file, a key of `contents.LAYOUTS`.
        key: at the top of the file.
    """
    table = _BY_LAYOUT.get(layout)
    found = table.get(key, table.get("")) if table is not None and isinstance(key, str) else None
    if found is None:
        return None
    form = next((form for form, component in _BY_FORM.items() if component == found != "data"), Form.NONE)
    return Role(found, form, settled=True, named=str(key).lower())


def lacks(entries: Iterable[Entry], layout: str = "generic") -> tuple[Lack, ...]:
    """What an exact resume would lack, in the order in which a run would miss it.

    Args:
        entries: of all files of one checkpoint.
        layout: of the checkpoint, a key of `contents.LAYOUTS`.
    """
    held = {part for entry in entries for part in _parts(entry)}
    if layout == "trainer" and "progress" in held:
        held.add("data")  # the Trainer finds its place again by its seed and by skipping `global_step` batches
    return tuple(Lack(part, text) for part, text in CONSEQUENCES.items() if part not in held)


def _parts(entry: Entry) -> tuple[str, ...]:
    """The keys of CONSEQUENCES that an entry accounts for: names and texts alone hold no state."""
    if entry.component == "rng":
        return _generators(entry)
    if entry.component in ("scheduler", "scaler") and entry.kind == "none":
        return (entry.component,)  # it says that the run has none
    if entry.component in ("model", "adapter"):
        return ("model",) if entry.kind in ("tensor", "array") else ()
    if (entry.kind in ("none", "text", "bool") and not entry.form) or entry.shape == (0,):
        return ()
    if entry.component == "optimizer" and not entry.form and entry.kind not in ("tensor", "array"):
        return ()
    return (entry.component,)


def _generators(entry: Entry) -> tuple[str, ...]:
    """Whose state an rng entry is, by its form; an empty list for CUDA says that no device was in use."""
    if entry.form in GENERATORS:
        return (f"rng.{entry.form.partition(' ')[0]}",)
    of_cuda = "cuda" in entry.path.lower()
    return ("rng.cuda",) if of_cuda and (entry.shape == (0,) or entry.kind in ("tensor", "array")) else ()
