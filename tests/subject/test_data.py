"""Images and targets: what they are, and what is said where they cannot be had."""

import hashlib

import numpy as np
import pytest
import torch

from dora_repro.errors import BadInput
from dora_repro.subject.config import TrainingConfig
from dora_repro.subject.data import PIXEL_MEAN, PIXEL_STD, Digits, Synthetic, Things, normalise, read_digits
from dora_repro.subject.training import TrainingRun

COLUMNS = ["", "image_name", *(f"dimension{number}" for number in range(1, 67))]


# --- digits


def test_digits_are_read_as_scikit_learn_reads_them():
    from sklearn.datasets import load_digits

    pixels, digits = read_digits()
    expected, written = load_digits(return_X_y=True)
    assert np.array_equal(pixels, expected)
    assert np.array_equal(digits, written)
    assert pixels.shape == (1797, 64)


def test_a_digit_is_the_real_image_in_three_colours():
    pixels, _ = read_digits()
    image = Digits(32).image(17)
    assert image.shape == (3, 32, 32)
    for colour in range(3):
        grey = image[colour] * PIXEL_STD[colour] + PIXEL_MEAN[colour]
        expected = (
            torch.from_numpy(pixels[17].reshape(8, 8)).repeat_interleave(4, 0).repeat_interleave(4, 1) / 16
        )
        torch.testing.assert_close(grey, expected.float())
    assert Digits(224).image(0).shape == (3, 224, 224)


def test_targets_of_digits_are_the_same_bits_on_every_machine():
    """The digest was taken once; all numbers in it are multiples of 1/128, so no rounding can move it."""
    targets = Digits(32).targets
    assert targets.shape == (1797, 66)
    assert torch.equal(targets * 128, (targets * 128).round())
    assert hashlib.sha256(targets.numpy().tobytes()).hexdigest()[:16] == "8208557a8b7ff22d"


def test_a_digit_s_target_tells_what_is_written_and_how():
    digits = torch.from_numpy(read_digits()[1])
    targets = Digits(32).targets
    within = torch.stack([targets[digits == digit].std(dim=0) for digit in range(10)]).mean()
    between = torch.stack([targets[digits == digit].mean(dim=0) for digit in range(10)]).std(dim=0).mean()
    assert 0.1 < float(within) < float(between)


# --- synthetic


def test_synthetic_data_is_one_batch_at_every_step():
    run = TrainingRun(TrainingConfig(data="synthetic", batch_size=4, shuffle=False))
    batches = []
    for _ in range(3):
        batches.append(run.feed.next())
        run.feed.end_epoch()
    assert len(run.feed) == 1
    assert all(torch.equal(images, batches[0][0]) for images, _ in batches)
    assert batches[0][0].shape == (4, 3, 32, 32)
    assert not torch.equal(Synthetic(32, 4, seed=0).images, Synthetic(32, 4, seed=1).images)


# --- things


@pytest.fixture
def things(tmp_path):
    """A folder of six PNG images and its CSV; `write(rows)` writes other rows."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for index in range(6):
        pixels = generator.integers(0, 256, size=(10 + index, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"image{index}.png")
    values = generator.random((6, 66))

    def row(index: int, **changed) -> list[str]:
        cells = [str(index), f"image{index}.png", *map(repr, values[index].tolist())]
        for column, text in changed.items():
            cells[int(column[1:])] = text
        return cells

    def write(*rows: list[str], columns: list[str] = COLUMNS):
        path = tmp_path / "targets.csv"
        path.write_text("\n".join(",".join(cells) for cells in [columns, *rows]) + "\n", encoding="utf-8")
        return str(path)

    class Files:
        folder = str(tmp_path)
        csv = write(*(row(index) for index in range(6)))

    Files.write, Files.row, Files.values = staticmethod(write), staticmethod(row), values
    return Files


def test_things_are_the_images_and_the_values_of_the_csv(things):
    from PIL import Image

    samples = Things(things.folder, things.csv, 32)
    assert torch.equal(samples.targets, torch.from_numpy(things.values).float())
    image, target = samples[4]
    with Image.open(f"{things.folder}/image4.png") as file:
        resized = np.array(file.resize((32, 32), Image.Resampling.BILINEAR))
    assert torch.equal(image, normalise(torch.from_numpy(resized).permute(2, 0, 1) / 255))
    assert torch.equal(target, samples.targets[4])


def test_a_run_trains_on_things(things):
    config = TrainingConfig(
        data="things", images=things.folder, targets=things.csv, batch_size=2, epochs=1, validation_share=0.34
    )
    run = TrainingRun(config)
    assert len(run.feed) == 2
    losses = [run.step() for _ in range(2)]
    assert run.finished and all(loss > 0 for loss in losses)
    assert len(run.validation_losses) == 1


def test_what_is_wrong_with_a_csv_is_said_by_file_and_row(things):
    def refused(words: str, *rows, **columns):
        path = things.write(*rows, **columns)
        with pytest.raises(BadInput, match=words) as caught:
            Things(things.folder, path, 32)
        assert "targets.csv" in str(caught.value)

    row = things.row
    refused("row 2: the image 'gone.png' is not in", row(0), row(1, c1="gone.png"))
    refused("row 2, column 'dimension3': 'high' is no finite number", row(0), row(1, c4="high"))
    refused(
        r"row 1, column 'dimension66': 'nan' is no finite number \(2 such values\)",
        row(0, c67="nan"),
        row(1, c5="inf"),
    )
    refused("row 1, column 'dimension1': '' is no finite number", row(0, c2=""), row(1))
    refused("has 67 columns, not 68", row(0)[:-1], row(1)[:-1], columns=COLUMNS[:-1])
    refused("row 2, column 'dimension66': '' is no finite number", row(0), row(1)[:-1])
    refused("cannot be read as a CSV|columns", row(0), [*row(1), "1", "2"])
    refused("has 1 rows; training and validation need 2 at least", row(0))
    refused("cannot be read as a CSV", columns=[])


def test_missing_files_are_bad_input(things):
    with pytest.raises(BadInput, match="images='/nowhere': there is no such folder"):
        Things("/nowhere", things.csv, 32)
    with pytest.raises(BadInput, match=r"targets='/nowhere.csv' cannot be read as a CSV"):
        Things(things.folder, "/nowhere.csv", 32)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_bad_input(things, workers):
    with open(f"{things.folder}/image3.png", "wb") as file:
        file.write(b"no image at all")
    config = TrainingConfig(
        data="things",
        images=things.folder,
        targets=things.csv,
        batch_size=6,
        validation_share=0.0,
        workers=workers,
    )
    with pytest.raises(BadInput, match=r"image3\.png cannot be read as an image"):
        TrainingRun(config).step()


# --- the split


def test_the_split_is_random_split_s_and_leaves_the_global_generator_alone():
    run = TrainingRun(TrainingConfig(seed=3))
    training, validation = run.feed.loader.dataset.indices, run.validation_loader.dataset.indices
    assert (len(training), len(validation)) == (1438, 359)
    assert sorted(training + validation) == list(range(1797))
    expected = torch.utils.data.random_split(
        range(1797), [1438, 359], generator=torch.Generator().manual_seed(3)
    )
    assert training == expected[0].indices
    assert training != TrainingRun(TrainingConfig(seed=4)).feed.loader.dataset.indices
