"""Options of optimizers as they were loaded, whatever the first step sets them to."""

import torch

from dora_repro.recording.group_options import digests_of
from dora_repro.scripts.loaded_options import LoadedOptions


def optimizers(rate):
    weight = torch.nn.Parameter(torch.ones(2))
    return {"main/optimizer": torch.optim.SGD([weight], lr=rate), "main/other": torch.optim.SGD([weight], lr=rate)}


def test_options_are_those_of_the_moment_at_which_a_loader_is_asked():
    made, options = optimizers(0.5), LoadedOptions()
    options.after_loading(made["main/optimizer"])
    options.loading_is_over()
    loaded = {f"main/optimizer{name}": value.hex() for name, value in digests_of({"": made["main/optimizer"]}).items()}
    made["main/optimizer"].param_groups[0]["lr"] = 0.1
    assert options.taken(made) == loaded and loaded
    assert options.taken(made) == {}


def test_without_a_loader_they_are_those_of_the_moment_of_loading():
    made, options = optimizers(0.5), LoadedOptions()
    assert options.taken(made) == {}
    options.after_loading(made["main/optimizer"])
    loaded = {f"main/optimizer{name}": value.hex() for name, value in digests_of({"": made["main/optimizer"]}).items()}
    made["main/optimizer"].param_groups[0]["lr"] = 0.1
    assert options.taken(made) == loaded and loaded
