"""Images and their 66-dimensional targets: digits, synthetic, or a folder of images with a CSV of embeddings.

Each source has `targets`, a tensor (samples, 66), and `image(index)`, a normalised tensor (3, side, side).
None of them draws from a global generator. sklearn, pandas and PIL are imported where they are used.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dora_repro.errors import BadInput, MissingExtra
from dora_repro.printable import named

DIMENSIONS = 66
PIXEL_MEAN = (0.52997664, 0.48070561, 0.41943838)  # the study's, of the THINGS images, per colour
PIXEL_STD = (0.27608301, 0.26593025, 0.28238822)

_MEAN = torch.tensor(PIXEL_MEAN)[:, None, None]  # (3, 1, 1)
_STD = torch.tensor(PIXEL_STD)[:, None, None]


def normalise(image: Tensor) -> Tensor:
    """Colours from [0, 1] to the study's normalised range.  # (3, side, side) -> (3, side, side)"""
    return (image - _MEAN) / _STD


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """What all sources share: `self[index]` is an image and its target.

    Attributes:
        targets: of all samples  # (samples, 66)
    """

    targets: Tensor

    def image(self, index: int) -> Tensor:
        """A sample's normalised image.  # (3, side, side)"""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.image(index), self.targets[index]


class Digits(Samples):
    """The 1,797 handwritten digits that scikit-learn ships (Alpaydin & Kaynak 1998, UCI), real 8×8 images.

    As an image: grey values 0…16 become 0…1 in all three colours, each pixel is repeated to fill `side`, and
    the whole is normalised as the study normalises. As a target, since nobody has rated digits on 66
    dimensions:

        target = prototype[digit] + pixels · signs / 128

    with `prototype` (10, 66) multiples of 1/64 in [-1, 1] and `signs` (64, 66) of -1, 0 and 1, both drawn
    once from a fixed generator. So a target depends on what is written and on how. All of it is integers over
    powers of two: every machine gets the same bits.
    """

    def __init__(self, side: int) -> None:
        pixels, digits = read_digits()
        generator = np.random.Generator(np.random.PCG64(66))
        prototype = generator.integers(-64, 65, size=(10, DIMENSIONS))
        signs = generator.integers(-1, 2, size=(64, DIMENSIONS))
        self.targets = torch.from_numpy((2 * prototype[digits] + pixels @ signs) / 128).float()  # (1797, 66)
        self.pixels = torch.from_numpy(pixels.reshape(-1, 8, 8)).to(torch.uint8)  # (1797, 8, 8)
        self.place = torch.arange(side) * 8 // side  # (side,): the pixel that fills each row and column

    def image(self, index: int) -> Tensor:
        grey = self.pixels[index].float()[self.place][:, self.place] / 16  # (side, side)
        return normalise(grey.expand(3, -1, -1))


class Synthetic(Samples):
    """The quick test's dummy data: one fixed batch of normal noise, images and targets.

    Args:
        side: of the square images, in pixels.
        count: of samples.
        seed: of the generator that draws them.
    """

    def __init__(self, side: int, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 3, side, side, generator=generator)
        self.targets = torch.randn(count, DIMENSIONS, generator=generator)

    def image(self, index: int) -> Tensor:
        return self.images[index]


class Things(Samples):
    """A folder of images and a CSV, as the study's dataset class reads them.

    The CSV has a line of column names, then per line: an index, the image's file name in the folder, 66
    values. Images are resized to `side` × `side` (bilinear), taken as RGB, and normalised with the study's
    mean and std.

    Args:
        images: the folder.
        targets: the CSV.
        side: of the square images, in pixels.

    Raises:
        BadInput: naming file and row: no such file or folder, a different number of columns, a value that is no
            finite number, an image that is missing; an unreadable image when it is first asked for.
    """

    def __init__(self, images: str, targets: str, side: int) -> None:
        self.folder = Path(images)
        if not self.folder.is_dir():
            raise BadInput(f"images={images!r}: there is no such folder")
        self.names, self.targets = _read_embeddings(Path(targets))
        self.side = side
        for row, name in enumerate(self.names):
            if not (self.folder / name).is_file():
                raise BadInput(
                    f"{targets}, row {row + 1}: the image {name!r} is not in {images}; add it or take the row out"
                )

    def image(self, index: int) -> Tensor:
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise MissingExtra("pillow", "subject", "data='things'") from error
        path = self.folder / self.names[index]
        try:
            with Image.open(path) as file:
                resized = file.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise BadInput(
                f"{named(path)} cannot be read as an image: {error}; replace it or take its row out"
            ) from error
        pixels = torch.from_numpy(np.array(resized))  # (side, side, 3)
        return normalise(pixels.permute(2, 0, 1).float() / 255)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits: pixels of 0…16 (1797, 64) and what is written (1797,), both int64.

    Its file is read directly where it lies in the installed package: importing sklearn takes two seconds.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise MissingExtra("scikit-learn", "subject", "data='digits'")
    for folder in package.submodule_search_locations or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            table = np.loadtxt(path, delimiter=",", dtype=np.int64)
            return table[:, :64], table[:, 64]
    from sklearn.datasets import load_digits  # a version that keeps the file elsewhere

    pixels, digits = load_digits(return_X_y=True)
    return pixels.astype(np.int64), digits.astype(np.int64)


def _read_embeddings(path: Path) -> tuple[list[str], Tensor]:
    """Image names and targets (rows, 66) of a CSV."""
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("pandas", "subject", "data='things'") from error
    try:
        table = pandas.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (OSError, UnicodeDecodeError, pandas.errors.EmptyDataError, pandas.errors.ParserError) as error:
        raise BadInput(f"targets={str(path)!r} cannot be read as a CSV: {error}") from error
    if table.shape[1] != DIMENSIONS + 2:
        wanted = f"{DIMENSIONS + 2} (index, image name, {DIMENSIONS} values)"
        raise BadInput(f"{named(path)} has {table.shape[1]} columns, not {wanted}")
    if len(table) < 2:
        raise BadInput(f"{named(path)} has {len(table)} rows; training and validation need 2 at least")
    numbers = table.iloc[:, 2:].apply(pandas.to_numeric, errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, copy=True)  # (rows, 66)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise BadInput(
            f"{named(path)}, row {row + 1}, column {table.columns[column + 2]!r}: "
            f"{table.iat[row, column + 2]!r} is no finite number ({len(wrong)} such values)"
        )
    return table.iloc[:, 1].tolist(), torch.from_numpy(values).float()
