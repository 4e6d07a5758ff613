"""Weights that networks start from: their files and descriptions.

A name of params.yaml is `weights/FILE.safetensors`, or `torchvision:` and a name of torchvision's
weights, whose file is in torch's cache. The stage plan checks it and leaves the tensors in a folder
beside the data, from which every training, wherever it runs, begins.
"""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from rolekd.data.dataset import Dataset
from rolekd.errors import InputError, brief, did_you_mean
from rolekd.models import zoo
from rolekd.models.external import PREFIX
from rolekd.models.normalized import Normalization, between
from rolekd.models.weights import Adopted, adopt, check_values, match, scale_stem, without_prefix
from rolekd.params import DataParams, ModelParams, Params, Role, StudentParams, TeacherParams
from rolekd.train import state

WEIGHTS_FOLDER = "weights"
_ANY_SIDE = 32  # pixels, if only the data know the size
SUFFIX = ".safetensors"
# keys under which frameworks keep a state dict among other things
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_FOREIGN = re.compile(r"GLOBAL ([\w.]+)")  # what torch's unpickler says of what is not a tensor
_REPEATED = 2  # bytes of tensors to those of their file: some layers share theirs


def load_into(network: nn.Module, path: Path, dataset: Dataset, *, whole: bool = False) -> Adopted:
    """Give a float network the weights of a file that `write` wrote, for the images of a data set.

    Args:
        network: Untrained; changed in place.
        path: The file.
        dataset: Its mean and deviation normalise the network's images.
        whole: Take the weights as they are, with their normalisation: everything must fit.

    Raises:
        InputError: They are another network's.
    """
    tensors, about = state.read_weights(path)
    try:
        found = adopt(network, tensors, whole=whole)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    theirs = normalization(about, path)
    if theirs is not None and not whole and len(theirs["mean"]) == dataset.channels:
        scale_stem(network, *between(of_data(dataset), theirs))
    return found


def beside(dataset: Dataset, role: Role) -> Path:
    """Return the file that the stage plan leaves beside the data for a role's networks."""
    return dataset.beside("pretrained", f"{role}{SUFFIX}")


def lay_beside(params: Params, roles: Iterable[Role], dataset: Dataset) -> None:
    """Write the files that `beside` finds, for roles whose networks begin with weights.

    Raises:
        InputError: See `check_and_write`.
    """
    for role in roles:
        if getattr(params, role).weights is not None:
            path = beside(dataset, role)
            path.parent.mkdir(exist_ok=True)
            check_and_write(params, role, path)


def of_data(dataset: Dataset) -> Normalization:
    """Return how the images of a data set are normalised."""
    return {"mean": list(dataset.mean), "std": list(dataset.std)}


def normalization(about: Any, path: Path) -> Normalization | None:
    """Return how a file's description says that its images are normalised; None: it does not."""
    value = about.get("normalization") if isinstance(about, dict) else None
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"mean", "std"}:
        raise InputError(f"{path}: normalization is not a mean and a std; import the weights again")
    return {key: _channels(value[key], f"{path}: normalization.{key}") for key in ("mean", "std")}  # type: ignore[return-value]


def _channels(values: Any, owner: str) -> list[float]:
    fine = isinstance(values, (list, tuple)) and len(values) in (1, 3)
    if not fine or not all(type(v) in (int, float) and 0 <= v <= 1 for v in values):
        raise InputError(f"{owner}: is not one or three numbers in 0..1")
    if owner.endswith("std") and min(values) < 1e-3:
        raise InputError(f"{owner}: {min(values):g} is not a deviation of pixels in 0..1")
    return [float(value) for value in values]


def check_and_write(params: Params, role: Role, target: Path | None = None) -> None:
    """Check the weights that params.yaml names for a role, and write them to `target`, if any.

    Classes and channels of the data may not be known yet, so only what depends on neither must fit.

    Raises:
        InputError: The file does not exist, is damaged, or is another network's.
    """
    settings = getattr(params, role)
    name: str = settings.weights
    try:
        tensors, about = _find(name, settings.model, Path())
        normalization(about, Path(name))
        if isinstance(settings, TeacherParams) and not settings.train:
            ours = {"role": role, "model": settings.model.name, "channels": params.data.channels}
            require_same(about, ours, name)
        _check_fit(settings, params.data, tensors, about)
    except InputError as error:
        raise InputError(f"{role}.weights: {error}") from error
    if target is not None:
        state.write_weights(target, tensors, about)


def require_same(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> None:
    """Refuse a trained teacher if its file's description says that it is another network.

    Args:
        theirs: The description, which may have none of the keys.
        ours: What it must be, by key; None: not known yet.
        path: The file, for errors.

    Raises:
        InputError: A value is another.
    """
    for key, value in ours.items():
        if value is not None and theirs.get(key, value) != value:
            raise InputError(
                f"{path}: trained with {key} {brief(theirs[key])}, here it is {value}; name a "
                "teacher that was trained for this data, or set teacher.train to true"
            )


def _check_fit(
    settings: TeacherParams | StudentParams,
    data: DataParams,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Compare the tensors with the network; stem and classifier may differ."""
    side, model = data.image_size or _ANY_SIDE, settings.model
    network = zoo.build(
        model.name,
        classes=2,
        channels=data.channels or 3,
        image_size=(side, side),
        width=model.width,
        seed=0,
    )
    try:
        match(network, tensors)
    except InputError as error:
        theirs = f" ({about['model']})" if "model" in about else ""
        raise InputError(f"{settings.weights}: {error}{theirs} in place of {model.name}") from error


def _find(name: str, model: ModelParams, project: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if name.startswith(PREFIX):
        return _of_torchvision(name, model.name)
    if not name.strip():
        raise InputError(f"is empty; name {WEIGHTS_FOLDER}/FILE{SUFFIX}, or set it to null")
    path = PurePosixPath(name)
    if path.suffix != SUFFIX:
        raise InputError(
            f"{name}: not a safetensors file; import it: rolekd weights import {name} "
            f"{WEIGHTS_FOLDER}/{path.stem}{SUFFIX}"
        )
    if path.parent != PurePosixPath(WEIGHTS_FOLDER):
        # DVC watches that folder: weights elsewhere could change unnoticed
        raise InputError(
            f"{name}: put the file into {WEIGHTS_FOLDER}/ and name it {WEIGHTS_FOLDER}/{path.name}"
        )
    if not (project / path).is_file():
        raise InputError(f"{name}: no such file; put it there, or set weights to null")
    tensors, about = state.read_weights(project / path)
    return tensors, about if isinstance(about, dict) else {}


def _of_torchvision(name: str, model: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of torchvision's weights, from torch's cache."""
    if not model.startswith(PREFIX):
        raise InputError(
            f"{name}: {model} is not one of torchvision's networks; name one as the model"
        )
    from torchvision import models

    kind = models.get_model_weights(model.removeprefix(PREFIX))
    if (label := name.removeprefix(PREFIX)) not in kind.__members__:
        hint = did_you_mean(label, kind.__members__)
        raise InputError(f"{name}: {model} does not have these weights; {hint}")
    weights = kind[label]
    path = cached(weights.url)
    if not path.is_file():
        raise InputError(
            f"{name}: {path} is not there; put {weights.url} into this folder, or import the "
            f"file from elsewhere: rolekd weights import FILE {WEIGHTS_FOLDER}/NAME{SUFFIX}"
        )
    return read_torch(path), {"normalization": _transforms(weights)}


def cached(url: str) -> Path:
    """Return where torch keeps what it has downloaded from an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name


def _transforms(weights: Any) -> Normalization:
    made = weights.transforms()
    return {"mean": [float(v) for v in made.mean], "std": [float(v) for v in made.std]}


def published(file: str) -> Normalization | None:
    """Return how torchvision normalises images for one of its files; None: it is not one.

    Args:
        file: Its name, as in resnet18-f37072fd.pth.
    """
    from torchvision import models

    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            if PurePosixPath(weights.url).name == file:
                return _transforms(weights)
    return None


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read a state dict that torch.save wrote, without running anything that the file may hold.

    One inside of a checkpoint is found under the usual names. A file whose name has part of its
    SHA-256, as torchvision's have, must match it.

    Raises:
        InputError: It is none, or is damaged.
    """
    _check_hash(path)
    _check_compression(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is an error here
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the unpickler's, zip's, torch's own kinds
        raise _unreadable(path, error) from error
    tensors = _state_dict(content)
    if tensors is None:
        raise InputError(
            f"{path}: does not contain a state dict; save it with "
            f"torch.save(network.state_dict(), FILE)"
        )
    _check_bytes(path, tensors)
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _unreadable(path: Path, error: Exception) -> InputError:
    """Say what is wrong with a file; torch's own words are of its options and parser."""
    if isinstance(error, OSError):
        return InputError(f"{path}: cannot be read ({error.strerror or error}); copy it again")
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return InputError(f"{path}: is a safetensors file; name it *{SUFFIX}")
    if not head:
        reason = "it is empty"
    elif found := _FOREIGN.search(str(error)):
        reason = f"it contains {found[1]}"
    elif "TorchScript" in str(error):
        reason = "it is a TorchScript program"
    elif head.startswith(state.PICKLES):
        reason = "it is damaged, or not a file of torch.save"
    else:
        reason = "it is not a file of torch.save or safetensors"
    return InputError(
        f"{path}: cannot be read as weights only ({reason}); save it with "
        "torch.save(network.state_dict(), FILE)"
    )


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(v, Tensor) for v in content.values()):
        return {str(name): value for name, value in content.items()}
    found = (_state_dict(content[key]) for key in _NESTED if key in content)
    return next((one for one in found if one is not None), None)


def _check_compression(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own bytes; torch.save does not compress."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # of an old version, or damaged: torch says which
    if unpacked > path.stat().st_size:
        raise InputError(
            f"{path}: a compressed archive of {unpacked:,} bytes; save it with "
            "torch.save(network.state_dict(), FILE)"
        )


def _check_bytes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not plain arrays, or that would take far more bytes than the file.

    A view can repeat a few stored numbers a million times, and copies of it would have them all.
    """
    total = 0
    for name, value in tensors.items():
        kinds = [value.device.type, value.layout, "quantized" if value.is_quantized else "plain"]
        if unusual := [kind for kind in kinds if kind not in ("cpu", torch.strided, "plain")]:
            raise InputError(
                f"{path}: {name} is not a plain array ({unusual[0]}); save the weights of the "
                "dense float network"
            )
        size = value.numel() * value.itemsize
        total += size
        if size > value.untyped_storage().nbytes():
            raise InputError(
                f"{path}: {name} has {size:,} bytes in the memory of "
                f"{value.untyped_storage().nbytes():,}; save it with .clone()"
            )
    if total > _REPEATED * path.stat().st_size:
        raise InputError(
            f"{path}: its tensors have {total:,} bytes, the file {path.stat().st_size:,}; save "
            "each tensor with .clone()"
        )


def _check_hash(path: Path) -> None:
    marked = re.fullmatch(r".+-([0-9a-f]{8})\.pth", path.name)
    if marked is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(marked[1]):
        raise InputError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not as its name says; download it "
            "again, or give a file of your own another name"
        )


def import_weights(
    source: Path, target: Path, theirs: Normalization | None = None
) -> tuple[int, str]:
    """Write weights of any kind that is read here as the safetensors file `target`.

    Modules that all names begin with, as wrappers put before them, are taken off.

    Args:
        source: A state dict that torch.save wrote, or a safetensors file.
        target: Written atomically.
        theirs: How its images are normalised; None: as the file says, or as torchvision does for
            its file of that name.

    Returns:
        The number of tensors, and what was taken off their names: model., nothing, ...

    Raises:
        InputError: The source is neither, a weight is none that a network can begin with, or the
            target cannot be written or is not named as a safetensors file.
    """
    if target.suffix != SUFFIX:
        raise InputError(f"{target}: name it *{SUFFIX}")
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name the file to write")
    if not source.is_file():
        raise InputError(f"{source}: no such file; name the one that holds the weights")
    about: Any = None
    if source.suffix == SUFFIX:
        tensors, about = state.read_weights(source)
    else:
        tensors = read_torch(source)
        theirs = theirs or published(source.name)
    try:
        # no network is known yet: so torch's layers call their parameters
        check_values(tensors, {n for n in tensors if n.rpartition(".")[2] in ("weight", "bias")})
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    prefix, tensors = without_prefix(tensors)
    described = about if isinstance(about, dict) else {}
    if theirs is not None:
        described = {**described, "normalization": theirs}
    normalization(described, source)
    state.write_weights(target, tensors, described)
    return len(tensors), prefix
