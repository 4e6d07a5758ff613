"""Files of a training: its whole state, and the weights that it ends with.

Both are safetensors files, written atomically. A state is used only if its checksum is right
and its fingerprint is that of the training that continues it.
"""

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rolekd import files
from rolekd.errors import InputError, RunError

EpochRow = dict[str, float]
PICKLES = (b"\x80", b"PK\x03\x04")  # alone, and in a zip file
_OPTIMIZER = "optimizer."


class StateError(InputError):
    """A training state that cannot be continued: damaged, or of another training.

    Attributes:
        reason: What is wrong with the file.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; remove it, and the training starts anew")
        self.reason = reason


def save(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    owner: Mapping[str, str],
    history: Sequence[EpochRow],
) -> None:
    """Write the state of a training.

    Args:
        path: The file.
        modules: All that has weights or statistics, by the prefix of their names in the file.
        optimizer: Its moments are saved; its options are not, the parameters decide them.
        owner: What the training is, by part; see `rolekd.train.fingerprint`.
        history: A row of metrics for each finished epoch.
    """
    from safetensors.torch import save_file

    tensors = {prefix + n: v for prefix, m in modules.items() for n, v in m.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{index}.{key}": value for key, value in values.items()}
    tensors = _contiguous(tensors)
    header = json.dumps({"owner": owner, "history": history})
    # one entry: safetensors orders several at random
    metadata = {"training": f"{_checksum(header, tensors)} {header}"}
    with files.replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    owner: Mapping[str, str],
    epochs: int,
) -> list[EpochRow]:
    """Restore what `save` wrote, all of it or nothing; return the rows of the finished epochs.

    Args:
        path: The file.
        modules: As for `save`; they take the state's weights.
        optimizer: Takes the state's moments.
        owner: What the state must agree with; parts that are missing here are not compared.
        epochs: Length of the training.

    Raises:
        FileNotFoundError: The file does not exist.
        RunError: It cannot be read.
        StateError: It is damaged, or the state of another training.
    """
    tensors, content = _verified(path)
    try:
        rows = _rows(content["history"], epochs)
        if others := [part for part in owner if content["owner"].get(part) != owner[part]]:
            raise ValueError(f"the state of another training ({', '.join(others)} differ)")
        moments = _moments(tensors, optimizer)
        weights = {prefix: _under(prefix, tensors) for prefix in modules}
        if foreign := [n for n in tensors if not n.startswith((*modules, _OPTIMIZER))]:
            raise ValueError(f"it has {foreign[0]}, which this training does not have")
        for prefix, module in modules.items():
            if misfits := _misfits(module.state_dict(), weights[prefix]):
                raise ValueError(f"its {prefix}{misfits[0]} does not fit")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StateError(path, f"not a state that can be continued ({error})") from error
    for prefix, module in modules.items():
        module.load_state_dict(weights[prefix])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return rows


def _verified(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and header of a state whose checksum is right."""
    from safetensors import SafetensorError

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StateError(path, "not a regular file")
        path.open("rb").close()  # its errors name a reason
        tensors, metadata = _open(path)
    except FileNotFoundError:
        raise
    except SafetensorError as error:
        raise StateError(path, f"damaged ({error})") from error
    except OSError as error:
        # the state may be fine, though it cannot be read now
        raise RunError(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions and the "
            "disk, then run again"
        ) from error
    checksum, _, header = metadata.get("training", "").partition(" ")
    if checksum != _checksum(header, tensors):
        raise StateError(path, "damaged: its checksum does not match its content")
    content: dict[str, Any] = json.loads(header)
    return tensors, content


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 of a state: its header, and each tensor with its name and form."""
    hasher = hashlib.sha256(header.encode())
    for name, value in sorted(tensors.items()):
        hasher.update(f"\n{name} {value.dtype} {list(value.shape)} ".encode())
        hasher.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _rows(history: list[EpochRow], epochs: int) -> list[EpochRow]:
    """Return the rows of a history; `ValueError`: they are not those of the first epochs."""
    if not 1 <= len(history) <= epochs:
        raise ValueError(f"it has {len(history)} of {epochs} epochs")
    for number, row in enumerate(history):
        whole = all(isinstance(value, int | float) for value in row.values())
        if row["epoch"] != number or row.keys() != history[0].keys() or not whole:
            raise ValueError(f"row {number} of its history is not that of epoch {number}")
    return history


def _moments(
    tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Return the optimiser's tensors by number of the parameter; `ValueError`: they do not fit."""
    numbered = enumerate(p for group in optimizer.param_groups for p in group["params"])
    parameters = dict(numbered)
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(_OPTIMIZER, tensors).items():
        index, _, key = name.partition(".")
        # moments are shaped like their parameter, counters are single numbers
        if value.ndim and value.shape != parameters[int(index)].shape:
            raise ValueError(f"its {_OPTIMIZER}{name} does not fit")
        found.setdefault(int(index), {})[key] = value
    if len({frozenset(values) for values in found.values()}) > 1:
        raise ValueError("its parameters have different moments")
    return found


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def save_weights(path: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's weights and BatchNorm statistics; `about` is kept as JSON beside them."""
    write_weights(path, network.state_dict(), about)


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write what `read_weights` returned."""
    from safetensors.torch import save_file

    with files.replacing(path) as temporary:
        save_file(
            _contiguous(tensors),
            temporary,
            metadata={"about": json.dumps(dict(about), sort_keys=True)},
        )


def read_weights(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the description that `save_weights` wrote; None: it has none."""
    tensors, metadata = read(path)
    try:
        return tensors, json.loads(metadata.get("about", "null"))
    except (ValueError, RecursionError):
        return tensors, None


def set_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a network the tensors of the file `path`."""
    if wrong := _misfits(network.state_dict(), tensors):
        raise InputError(
            f"{path}: weights of another network ({wrong[0]} does not fit, "
            f"{len(wrong)} tensors in all); name the model that they were trained with"
        )
    network.load_state_dict(dict(tensors))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file; anything else is an `InputError`."""
    from safetensors import SafetensorError

    try:
        return _open(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run the stage that writes it first") from error
    except (OSError, SafetensorError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{path}: is empty; copy it again, or run its stage again") from error
        if path.is_file() and path.open("rb").read(4).startswith(PICKLES):
            raise InputError(
                f"{path}: a pickle, as torch.save writes, which can run code and is not read; "
                "rolekd weights import writes its weights as safetensors"
            ) from error
        raise InputError(
            f"{path}: not a safetensors file ({error}); weights of other formats must be converted"
        ) from error


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    if path.exists() and not path.is_file():
        raise OSError("not a regular file")  # reading a pipe would never end
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def _misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Name the tensors that only the network or only the file has, or that differ in shape."""
    wrong = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    return wrong + [n for n in tensors if n not in own]


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
