"""The GPU check: what a borrowed GPU should show in a few minutes, as one JSON file.

    python -m benchmarks.gpu --out gpu.json

It installs nothing and needs only Python, torch and numpy: with these the training core can be
imported. Each part is written when it is done; run again with the same file it does the others.
`--device cpu --small` tries the script itself where there is no GPU.

| part | what it answers |
|---|---|
| engine | Are the GPU's augmented bytes the CPU's? Images per second |
| steps | Milliseconds of a step: ResNet18 in float, TF32, bfloat16, channels last; W2A2 |
| compiled | The same with torch.compile, where there is time |
| paper | Two epochs of the preset cifar100-paper; both stages in hours and money |
| resumed | Does a training that is stopped and resumed end in the same bytes? |
| population | Does a search of 8 members give the same with 1 process and with 4 on the GPU? |
"""

import argparse
import copy
import dataclasses
import functools
import hashlib
import importlib.util
import io
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

import benchmarks.bare  # noqa: F401  before rolekd: pydantic may be missing
from rolekd import files
from rolekd.augment import ladder
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment
from rolekd.augment.policy import Policy
from rolekd.augment.recipe import Augmentation
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress, Objective
from rolekd.search.population import SearchResult, plan
from rolekd.train import devices, roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.training import Training

_DOLLARS_PER_HOUR = 3.0  # an H100's, about; multiply as yours costs
# of the preset cifar100-paper; tests/benchmarks/test_gpu.py compares
PAPER: dict[str, Any] = {
    "epochs": 200,
    "batch_size": 128,
    "train": 50_000,
    "search_train": 4_000,
    "population": 16,
    "search_epochs": 200,
    "loss": "ii",
}
_TRAINING: dict[str, Any] = {
    "epochs": 200,
    "batch_size": 128,
    "accumulate": 1,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "lr_schedule": "step",
    "warmup_epochs": 0.0,
    "weight_decay": 1e-5,
    "decay_at": (0.3, 0.6, 0.8),
    "decay_factor": 0.1,
    "clip_norm": 0.0,
    "ema_decay": 0.0,
    "float_epochs": 0,
    "reestimate_batchnorm": 0,
    "precision": "float32",
    "compile": False,
}
_START = EpochProgress(epoch=0, epochs=200)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and how large.

    Attributes:
        device: Of torch.
        width: Of the ResNet18s.
        images: Of a data set for steps and epochs.
        rounds: Steps of each kind.
        seconds: That the whole may take; parts that cannot be short look at it.
    """

    device: torch.device
    width: int
    images: int
    rounds: int
    seconds: float


def _training(**changes: Any) -> Any:
    return SimpleNamespace(**{**_TRAINING, **changes})


def _teacher(width: int) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(name="resnet18", width=width), weights=None, train=True
    )


def _student(width: int) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(name="resnet18", width=width), weights=None,
        quantizer="dorefa", bits=2, activation_bits=None, residual="quantized", overrides={},
        damping=0.0, ends="float",
    )  # fmt: skip


def _distill(loss: str) -> Any:
    return SimpleNamespace(
        loss=loss, taps=None, quantize_teacher=False, temperature=4.0, prepare_epochs=0,
        first_phase_fraction=0.25, weight=0.4, decay_factor=0.6,
    )  # fmt: skip


def _data(images: int, side: int = 32, channels: int = 3, classes: int = 100) -> Dataset:
    stream = np.random.default_rng(0)
    pixels = stream.integers(0, 256, (images, side, side, channels), dtype=np.uint8)
    everything = np.arange(images)
    splits = dict.fromkeys(("search_train", "search_val", "train", "test"), everything)
    names = tuple(f"class {number}" for number in range(classes))
    return datasets.assemble("random", pixels, everything % classes, names, splits)


def _begin(
    network: nn.Module,
    objective: Objective,
    dataset: Dataset,
    setting: Setting,
    params: Any,
    seed: int = 0,
    augmentation: Any = None,
) -> Training:
    normalize = Normalize(dataset, setting.device)
    padding = min(4, dataset.image_size[0] - 1)
    base: Any = SimpleNamespace(crop_padding=padding, horizontal_flip=True, cutout=0)
    batches = Batches(dataset, "train", params.batch_size, seed, normalize)
    augment_at = constant(make_engine(base, dataset, 1), augmentation or RandAugment())
    return Training(network.to(setting.device), objective, batches, augment_at, params)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def engine(setting: Setting) -> dict[str, Any]:
    """Compare bytes with the CPU's, and time both."""
    made = Engine((120, 110, 100), crop_padding=4, horizontal_flip=True, cutout=8)
    policies: dict[str, Augmentation] = {
        "RandAugment": RandAugment(),
        "all-5": ladder.policy("all-5"),
    }
    found: dict[str, Any] = {"equal": True}
    for count in (512, 10_000):
        images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        there = torch.from_numpy(images).to(setting.device)
        for name, policy in policies.items():
            ours, theirs = made.apply(images, policy, 7), made.apply(there, policy, 7)
            found["equal"] &= bool((theirs.cpu().numpy() == ours).all())
            taken = []
            for seed in range(setting.rounds):
                _wait(setting.device)
                began = time.perf_counter()
                made.apply(there, policy, seed)
                _wait(setting.device)
                taken.append(time.perf_counter() - began)
            found[f"{name}, {count} images, per second"] = round(count / statistics.median(taken))
    return found


def _kinds(setting: Setting, dataset: Dataset, compiled: bool) -> dict[str, Callable[[], object]]:
    def step(network: nn.Module, objective: Objective, **changes: Any) -> Callable[[], object]:
        params = _training(compile=compiled, **changes)
        training = _begin(network.train(), objective, dataset, setting, params)
        images, classes = dataset.split("train")
        count = _TRAINING["batch_size"]
        batch = Normalize(dataset, setting.device)(images[:count])
        labels = torch.from_numpy(classes[:count]).to(setting.device)
        return lambda: training.step(batch, labels, _START)

    def teacher() -> tuple[nn.Module, dict[str, Any]]:
        return roles.teacher(_teacher(setting.width), dataset, 0)

    def student(loss: str | None, **changes: Any) -> Callable[[], object]:
        taught = teacher()
        network, about = roles.student(_student(setting.width), dataset, 0, taught[0])
        objective = Objective()
        if loss is not None:
            there = taught[0].to(setting.device), taught[1]
            described = network.to(setting.device), about
            objective = Distillation(described, there, _distill(loss), 0)
        return step(network, objective, **changes)

    return {
        "teacher, float32": step(teacher()[0], Objective()),
        "teacher, bfloat16": step(teacher()[0], Objective(), precision="bfloat16"),
        "W2A2, float32": student(None),
        "W2A2, bfloat16": student(None, precision="bfloat16"),
        "W2A2, soft, float32": student("soft"),
        "W2A2, soft, bfloat16": student("soft", precision="bfloat16"),
        "W2A2, ii, float32": student("ii"),
    }


def _milliseconds(kinds: dict[str, Callable[[], object]], setting: Setting) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(setting.rounds + 2):
        for name, step in kinds.items():
            _wait(setting.device)
            began = time.perf_counter()
            step()
            _wait(setting.device)
            if round_ > 1:  # the first choose algorithms and allocate
                taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: round(statistics.median(values), 2) for name, values in taken.items()}


def steps(setting: Setting) -> dict[str, Any]:
    """Time steps of batch 128, with TF32 convolutions and without."""
    dataset = _data(10 * _TRAINING["batch_size"])
    kinds = _kinds(setting, dataset, compiled=False)
    before = torch.backends.cudnn.allow_tf32
    found: dict[str, Any] = {}
    try:
        for allowed in (True, False):
            torch.backends.cudnn.allow_tf32 = allowed
            found["TF32" if allowed else "no TF32"] = _milliseconds(kinds, setting)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    contiguous = roles.teacher(_teacher(setting.width), dataset, 0)[0].to(setting.device).train()
    images = torch.randn(128, 3, 32, 32, device=setting.device)
    layouts = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    for name, layout in layouts.items():
        network = contiguous.to(memory_format=layout)
        both = functools.partial(_forward_and_back, network, images.to(memory_format=layout))
        found[f"forward and back, {name}"] = _milliseconds({name: both}, setting)[name]
    return found


def _forward_and_back(network: nn.Module, images: torch.Tensor) -> None:
    torch.autograd.backward(network(images).square().mean())


def compiled(setting: Setting) -> dict[str, Any]:
    """Time compiled steps of teacher and plain student."""
    dataset = _data(10 * _TRAINING["batch_size"])
    kinds = _kinds(setting, dataset, compiled=True)
    chosen = {name: kinds[name] for name in ("teacher, bfloat16", "W2A2, float32")}
    return _milliseconds(chosen, setting)


def paper(setting: Setting) -> dict[str, Any]:
    """Train two epochs of each role, and extrapolate both stages."""
    dataset = _data(setting.images)
    taught = roles.teacher(_teacher(setting.width), dataset, 0)
    seconds = {}
    for role in ("teacher", "student"):
        network, about = roles.teacher(_teacher(setting.width), dataset, 1)
        objective = Objective()
        if role == "student":
            network, about = roles.student(_student(setting.width), dataset, 1, taught[0])
            there = taught[0].to(setting.device), taught[1]
            described = network.to(setting.device), about
            objective = Distillation(described, there, _distill(PAPER["loss"]), 0)
        training = _begin(network, objective, dataset, setting, _training())
        epochs = []
        for _ in range(2):
            began = time.perf_counter()
            training.run_epoch()
            _wait(setting.device)
            epochs.append(time.perf_counter() - began)
        seconds[role] = epochs[-1] / setting.images  # of an image; the first warms up
    whole = PAPER["epochs"] * PAPER["train"]
    search = PAPER["population"] * PAPER["search_epochs"] * PAPER["search_train"]
    hours = {
        f"{role}: {stage}": round(seconds[role] * images / 3600, 2)
        for role in seconds
        for stage, images in (("search", search), ("training", whole))
    }
    total = sum(hours.values())
    return {
        "images_per_second": {role: round(1 / value) for role, value in seconds.items()},
        "hours": hours,
        "hours_of_both_stages": round(total, 2),
        "dollars": round(total * _DOLLARS_PER_HOUR, 2),
        "dollars_per_hour": _DOLLARS_PER_HOUR,
    }


def _small(setting: Setting, seed: int, policy: Policy) -> Training:
    dataset = _data(640, side=8, channels=1, classes=10)
    params: Any = SimpleNamespace(
        model=SimpleNamespace(name="resnet8", width=8), weights=None, train=True
    )
    network, _ = roles.teacher(params, dataset, seed)
    params = _training(epochs=4, batch_size=64, learning_rate=1e-2)
    return _begin(network, Objective(), dataset, setting, params, seed, policy)


def _digest(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def resumed(setting: Setting) -> dict[str, Any]:
    """Compare a training of four epochs with one that is saved, dropped and loaded after two."""
    whole = _small(setting, 3, ladder.policy("all-3"))
    for _ in range(4):
        whole.run_epoch()
    first, second = (_small(setting, 3, ladder.policy("all-3")) for _ in range(2))
    for _ in range(2):
        first.run_epoch()
    by_file = importlib.util.find_spec("safetensors") is not None
    if by_file:
        with tempfile.TemporaryDirectory() as name:
            state = Path(name, "state.safetensors")
            first.save(state)
            second.resume(state)
    else:  # what the file would hold
        second.network.load_state_dict(first.network.state_dict())
        second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
        second.history = list(first.history)
    for _ in range(2):
        second.run_epoch()
    found = _digest(whole.network), _digest(second.network)
    return {"equal": found[0] == found[1], "by_file": by_file, "digests": list(found)}


def _task(device: str, number: int, before: bytes | None, policy: tuple[int, ...]) -> bytes:
    """Train a member one epoch from its parent's state; return its own."""
    setting = Setting(devices.set_up(device, 1), 8, 0, 1, 0.0)
    training = _small(setting, number, Policy(policy))
    if before is not None:
        state = _read(before)
        training.network.load_state_dict(state["network"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.history = state["history"]
    training.run_epoch()
    made = io.BytesIO()
    torch.save(
        {
            "network": training.network.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "history": training.history,
        },
        made,
    )
    return made.getvalue()


def _read(state: bytes) -> Any:
    return torch.load(io.BytesIO(state), weights_only=True)


def _search(pool: Any, device: str) -> list[str]:
    """Search as `rolekd.search.population` plans: 8 members, 3 generations of an epoch."""
    search: Any = SimpleNamespace(
        population=8, epochs=3, interval_epochs=1, rounds=[(1, 3)], quantile=0.25, start="none",
        resample_probability=0.2, max_step=3, ladder=(),
    )  # fmt: skip
    history: list[list[Any]] = []
    states: dict[int, bytes] = {}
    digests = []
    for _ in range(3):
        tasks = plan(search, 0, history)
        jobs = [
            (device, task.slot.member, states.get(task.parent.member) if task.parent else None,
             task.policy)
            for task in tasks
        ]  # fmt: skip
        made = pool.starmap(_task, jobs, chunksize=1)
        states = {task.slot.member: state for task, state in zip(tasks, made, strict=True)}
        digests += [hashlib.sha256(state).hexdigest() for state in made]
        losses = [_read(state)["history"][-1]["loss"] for state in made]
        pairs = zip(tasks, losses, strict=True)
        history.append([SearchResult(task, 0, 1 / (1 + loss), 0, 0.0) for task, loss in pairs])
    return digests


def population(setting: Setting) -> dict[str, Any]:
    """Search with one process and with four that share the device; compare every state."""
    spawn = multiprocessing.get_context("spawn")
    found, seconds = {}, {}
    for count in (1, 4):
        began = time.perf_counter()
        with spawn.Pool(count) as pool:
            found[count] = _search(pool, setting.device.type)
        seconds[str(count)] = round(time.perf_counter() - began, 1)
    return {"equal": found[1] == found[4], "states": len(found[1]), "seconds": seconds}


PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], float]] = {
    # with the seconds that must be left for it to begin
    "engine": (engine, 20),
    "resumed": (resumed, 20),
    "steps": (steps, 60),
    "paper": (paper, 60),
    "population": (population, 60),
    "compiled": (compiled, 120),
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Do the parts that the file does not have yet; return what it has then."""
    parser = argparse.ArgumentParser(description="The GPU check.")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", action="append", choices=list(PARTS))
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--small", action="store_true", help="Try the script, measure nothing.")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    device = devices.set_up(given.device, 1)
    setting = Setting(device, 64, 10_000, 15, given.seconds)
    if given.small:
        setting = Setting(device, 4, 256, 1, given.seconds)
    machine = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "small": given.small,
    }
    found: dict[str, Any] = {"machine": machine}
    if given.out.exists():
        found = files.read_json(given.out)
        if found.get("machine") != machine:
            parser.error(f"{given.out}: is of {found.get('machine')}; name another file with --out")
    for name, (part, least) in PARTS.items():
        if (name in found and "error" not in found[name]) or name not in (given.only or PARTS):
            continue
        if given.seconds - (time.monotonic() - began) < least:
            say(f"{name}: no time left; call again")
            continue
        started = time.monotonic()
        try:
            result = part(setting)
        except Exception as error:  # the other parts are worth their time all the same
            result = {"error": f"{type(error).__name__}: {error}"[:2000]}
        found[name] = {**result, "seconds_taken": round(time.monotonic() - started, 1)}
        files.write_json(given.out, found)
        say(f"{name}: {json.dumps(found[name])}")
    return found


if __name__ == "__main__":
    main()
