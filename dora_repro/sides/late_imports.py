"""Importing this has torch import what it puts off until an optimizer is made, which is most of what it imports."""

import torch

torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0)
