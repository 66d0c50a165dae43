"""The CLIP models that the kit can train, by name: how large they are and where their DoRA layers go.

Numbers only; `model.py` builds. `vit-b-32` and `vit-l-14` are the towers of CLIP (Radford et al. 2021, arXiv
2103.00020, table 20); `tiny` is this kit's own, small enough that a step takes some milliseconds on a CPU.
"""

from dataclasses import dataclass

LOGIT_SCALE = 2.6592  # ln(1 / 0.07): what CLIP starts from; weights from elsewhere bring their own


@dataclass(frozen=True)
class Tower:
    """One transformer of CLIP; its MLPs are 4 widths wide.

    Attributes:
        width: features.
        layers: blocks.
        heads: of attention, in each block.
    """

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Size:
    """A CLIP model, and what of it is adapted.

    Attributes:
        vision: the tower of images.
        text: the tower of prompts.
        image: side of the square input image, in pixels.
        patch: side of a patch, in pixels.
        projection: width of the space in which images and prompts meet.
        vocabulary: number of tokens; the last two are begin and end of text.
        context: longest prompt, in tokens.
        vision_dora: how many of the vision tower's last blocks get a DoRA layer.
        text_dora: how many of the text tower's last blocks get a DoRA layer.
        rank: r of the DoRA layers.
        batch: default batch size.
    """

    vision: Tower
    text: Tower
    image: int
    patch: int
    projection: int
    vocabulary: int
    context: int
    vision_dora: int
    text_dora: int
    rank: int
    batch: int


SIZES = {
    "tiny": Size(
        vision=Tower(64, 3, 4), text=Tower(64, 2, 4), image=32, patch=8, projection=64,
        vocabulary=258, context=32, vision_dora=2, text_dora=1, rank=4, batch=16,
    ),
    "vit-b-32": Size(
        vision=Tower(768, 12, 12), text=Tower(512, 12, 8), image=224, patch=32, projection=512,
        vocabulary=49408, context=77, vision_dora=2, text_dora=1, rank=32, batch=16,
    ),
    # The study's: 24 + 12 blocks, of which the last 2 and the last 1 are adapted at rank 32. Its batch is 64.
    "vit-l-14": Size(
        vision=Tower(1024, 24, 16), text=Tower(768, 12, 12), image=224, patch=14, projection=768,
        vocabulary=49408, context=77, vision_dora=2, text_dora=1, rank=32, batch=8,
    ),
}  # fmt: skip  # one line a tower reads better than one a number
