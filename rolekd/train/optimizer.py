"""The optimisers by name; their learning rate is set step by step, see `rolekd.train.rates`."""

import torch
import torch._dynamo  # the first optimiser would import it, in every forked process anew
from torch import nn

from rolekd.params import TrainingParams


def make_optimizer(
    network: nn.Module, objective: nn.Module, params: TrainingParams
) -> torch.optim.Optimizer:
    """Build the named optimiser for the parameters of the network and the objective.

    Weight decay acts on weights, not on biases and BatchNorm.
    """
    everything = (*network.parameters(), *objective.parameters())
    parameters = [p for p in everything if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": params.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if params.optimizer == "sgd":
        sgd = torch.optim.SGD(
            groups, lr=params.learning_rate, momentum=0.9, nesterov=True, fused=True
        )
        # fused SGD refuses a step in which only some parameters have a momentum, as when others get
        # their first gradient in a method's second phase; starting from zeros changes no number
        for parameter in parameters:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    kind = torch.optim.Adam if params.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=params.learning_rate, eps=1e-5, fused=True)
