"""Importing this leaves torch with nothing to import when an optimizer is made, or little."""

import torch

from dora_repro.private_names.late_compiler import put_off_compiler

put_off_compiler()
torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0)  # whatever else this version puts off
