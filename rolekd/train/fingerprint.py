"""The identity of a training, as digests: states of other trainings are not continued."""

import contextlib
import dataclasses
import hashlib
import json
from typing import Any

from torch import nn

from rolekd.data.batches import Batches
from rolekd.params import TrainingParams

# what every module has; any other attribute is particular to it
_OF_ANY_MODULE = frozenset(vars(nn.Module()))


def of(
    network: nn.Module,
    objective: nn.Module,
    batches: Batches,
    params: TrainingParams,
) -> dict[str, str]:
    """Return what distinguishes a training from others, by part, before the training begins.

    The images of an epoch are apart from the seed of their order: a member of a search continues
    from another member's state, with its own seed.
    """
    return {
        "network": _digest(_described(network)),
        "objective": _digest(_described(objective)),
        "parameters": _digest(vars(params)),
        # sums differ between devices, and so may the precision
        "device": next(network.parameters()).device.type,
        "batches": batches.fingerprint,
        "seed": str(batches.seed),
    }


def _described(module: nn.Module) -> dict[str, list[Any]]:
    """Return path -> class and plain values (bits, strides, sections of parameters, code)."""
    return {
        path: [type(part).__qualname__, _plain_values(part)]
        for path, part in module.named_modules()
    }


def _plain_values(module: nn.Module) -> dict[str, str]:
    found = {}
    for name, value in vars(module).items():
        if name not in _OF_ANY_MODULE:
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                found[name] = _json(value)
    return found


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_fields)


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a section of the parameters, or of another dataclass."""
    if dataclasses.is_dataclass(value) or hasattr(type(value), "model_fields"):
        return dict(vars(value))
    raise TypeError


def _digest(value: Any) -> str:
    return hashlib.sha256(_json(value).encode()).hexdigest()
