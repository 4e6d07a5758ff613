"""The whole state of a training as one safetensors file, written atomically."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rolekd import files
from rolekd.errors import InputError

_PICKLES = (b"\x80", b"PK\x03\x04")  # alone, and in a zip file


def save(
    path: Path,
    network: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    history: Sequence[Mapping[str, float]] = (),
    *,
    average: nn.Module | None = None,
) -> None:
    """Write weights, BatchNorm statistics, optimiser state, finished epochs and their metrics.

    What an objective trains beside the network is part of it, and the averaged network.
    """
    from safetensors.torch import save_file

    tensors = {
        prefix + name: value
        for prefix, module in _modules(network, objective, average).items()
        for name, value in module.state_dict().items()
    }
    state = optimizer.state_dict()
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
    header = {"epoch": epoch, "groups": state["param_groups"], "history": history}
    with files.replacing(path) as temporary:
        save_file(_contiguous(tensors), temporary, metadata={"training": json.dumps(header)})


def load(
    path: Path,
    network: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    average: nn.Module | None = None,
) -> tuple[int, list[dict[str, float]]]:
    """Restore what `save` wrote; return the number of finished epochs and their metrics."""
    tensors, metadata = read(path)
    if "training" not in metadata:
        raise InputError(f"{path}: holds weights but no training state; name a state file")
    header = json.loads(metadata["training"])
    for prefix, module in _modules(network, objective, average).items():
        own = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
        _load_weights(path, module, own)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            slots.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": slots, "param_groups": header["groups"]})
    return int(header["epoch"]), header["history"]


def _modules(
    network: nn.Module, objective: nn.Module, average: nn.Module | None
) -> dict[str, nn.Module]:
    modules = {"network.": network, "objective.": objective}
    return modules if average is None else {**modules, "average.": average}


def save_weights(path: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights and BatchNorm statistics; `about` is kept as JSON beside them."""
    from safetensors.torch import save_file

    with files.replacing(path) as temporary:
        save_file(
            _contiguous(dict(network.state_dict())),
            temporary,
            metadata={"about": json.dumps(dict(about), sort_keys=True)},
        )


def load_weights(path: Path, network: nn.Module) -> None:
    """Restore what `save_weights` wrote."""
    _load_weights(path, network, read(path)[0])


def describe(path: Path) -> dict[str, Any]:
    """Return the `about` of a weights file; a file without one is an `InputError`."""
    about = json.loads(read(path)[1].get("about", "{}"))
    if not isinstance(about, dict) or "model" not in about:
        raise InputError(f"{path}: does not say of which network it is; name one that we wrote")
    return about


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file; anything else is an `InputError`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run the stage that writes it first") from error
    except (OSError, SafetensorError) as error:
        if path.is_file() and path.open("rb").read(4).startswith(_PICKLES):
            raise InputError(
                f"{path}: a pickle, as torch.save writes, which can run code and is not read; "
                "write the weights with safetensors.torch.save_file"
            ) from error
        raise InputError(
            f"{path}: not a safetensors file ({error}); weights of other formats must be converted"
        ) from error


def _load_weights(path: Path, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = network.state_dict()
    wrong = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    wrong += [n for n in tensors if n not in own]
    if wrong:
        raise InputError(
            f"{path}: weights of another network ({wrong[0]} does not fit, "
            f"{len(wrong)} tensors in all); name the model that they were trained with"
        )
    network.load_state_dict(tensors)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
