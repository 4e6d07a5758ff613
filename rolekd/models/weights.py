"""Weights that pass from one network to another."""

import torch
from torch import nn


@torch.no_grad()
def copy_matching(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Copy the teacher's parameters and statistics where name and shape agree.

    A converted student keeps the names of its float form, so a quantised layer starts from the
    float layer's weights. Returns the names that were copied, in the student's order.
    """
    source = teacher.state_dict()
    copied = []
    for name, tensor in student.state_dict().items():
        if name in source and source[name].shape == tensor.shape:
            tensor.copy_(source[name])
            copied.append(name)
    return copied
