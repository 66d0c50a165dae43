"""The 66 prompts that an image is scored against, and their tokens.

The study scores images on the 66 dimensions of the THINGS similarity embedding (SPoSE; Hebart et al. 2020,
Nature Human Behaviour 4, 1173–1185; 66 of them in Hebart et al. 2023, eLife 12:e82580). The words below are
this kit's own plain descriptions in that spirit, not the study's file: what is tested here does not depend on
the wording.
"""

from pathlib import Path

import torch
from torch import Tensor

from dora_repro.errors import BadInput

PROMPTS = (
    "metallic", "food", "animal", "clothing", "furniture", "plant",
    "vehicle", "tool", "body part", "electronic", "paper", "wooden",
    "round", "long and thin", "colorful", "red", "yellow", "green",
    "blue", "white", "black", "transparent", "shiny", "soft",
    "fluffy", "sharp", "striped", "grid-like", "spiky", "coarse",
    "powdery", "liquid", "fire-related", "water-related", "airborne", "underground",
    "outdoors", "indoors", "farm-related", "medical", "military", "religious",
    "royal", "childlike", "feminine", "masculine", "valuable", "disgusting",
    "dangerous", "cute", "sports-related", "musical", "weapon", "container",
    "construction", "bathroom-related", "kitchen-related", "office-related", "jewelry", "insect-like",
    "bird-like", "sea life", "sweet", "drinkable", "repetitive pattern", "tubular",
)  # fmt: skip  # six to a line, eleven lines


def byte_tokens(prompts: tuple[str, ...], vocabulary: int, length: int = 0) -> Tensor:
    """Token ids without a tokenizer: begin, the bytes of the text, end.

    For random weights, which have learnt no words.

    Args:
        prompts: the texts.
        vocabulary: at least 258: the 256 bytes, and as its last two tokens begin and end.
        length: tokens per prompt; 0 for as many as the longest prompt has.

    Returns:
        ids  # (len(prompts), length), int64

    Raises:
        BadInput: the vocabulary is too small, or a prompt longer than `length`.
    """
    if vocabulary < 258:
        raise BadInput(f"byte tokens need a vocabulary of 258, this model has {vocabulary}: add a tokenizer")
    begin, end = vocabulary - 2, vocabulary - 1
    return _filled([[begin, *prompt.encode(), end] for prompt in prompts], length)


def tokenize(prompts: tuple[str, ...], weights: str, length: int = 0) -> Tensor | None:
    """Token ids by the tokenizer beside real weights.

    Args:
        prompts: the texts.
        weights: a folder, or a name on the hub.
        length: tokens per prompt; 0 for as many as the longest prompt has.

    Returns:
        ids  # (len(prompts), length), int64; None where a folder has no tokenizer

    Raises:
        BadInput: the tokenizer cannot be read, or a prompt is longer than `length`.
    """
    folder = Path(weights)
    if folder.is_dir() and not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return None
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(weights, local_files_only=folder.is_dir())
        rows = tokenizer(list(prompts))["input_ids"]
    except Exception as error:  # of many kinds: the library's, the hub's, the tokenizer's own in Rust
        raise BadInput(f"the tokenizer of {weights!r} cannot be used: {error}; fetch its files again") from error
    return _filled(rows, length)


def _filled(rows: list[list[int]], length: int) -> Tensor:
    """Rows of one length, padded with their end token.

    CLIP reads a text at its first end token, and its attention is causal: what follows has no effect.
    """
    longest = max(len(row) for row in rows)
    if length and length < longest:
        raise BadInput(
            f"prompt_tokens={length} is too short: the longest prompt has {longest} tokens; give 0 to fit it"
        )
    return torch.tensor([row + [row[-1]] * ((length or longest) - len(row)) for row in rows])
