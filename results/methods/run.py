"""Compare all methods of distillation on 4,000 images of CIFAR-10, W2A2, at equal budget.

    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar     # or the official binary files
    python -m results.methods.run /tmp/cifar                    # writes results/methods.md
    python -m results.methods.run /tmp/cifar --epochs 1 --seeds 1 --out /tmp/try   # a trial

Every run's result is kept under --state as soon as it is there, and a run that is interrupted goes
on from its last epoch: call it again. One thread for each run, --workers runs at a time; the time
per step is measured at the end, one method after the other, with nothing else of ours running.
"""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click

from rolekd import files

PLAIN = "plain"  # the student without a teacher
STEPS = 5
DISTILL = {"weight": 0.4, "decay_factor": 0.6, "temperature": 4.0, "first_phase_fraction": 0.25}


def _params(method: str, epochs: int) -> Any:
    """One set of hyperparameters for all methods; the losses' weights are the methods' own."""
    from rolekd.params import parse

    training = {"batch_size": 128, "learning_rate": 3e-3, "optimizer": "adam"}
    return parse(
        {
            "augment": {"crop_padding": 4, "horizontal_flip": True},
            "teacher": {
                "model": {"name": "resnet18", "width": 16},
                "training": training | {"epochs": 2 * epochs},
            },
            "student": {
                "model": {"name": "resnet8", "width": 16},
                "training": training | {"epochs": epochs},
            },
            "distill": DISTILL | ({} if method == PLAIN else {"loss": method}),
        },
        "the comparison",
    )


class _Setting:
    """Data, networks and objective of one run."""

    def __init__(self, data: Path, method: str, seed: int, epochs: int) -> None:
        import torch

        from rolekd.data import dataset as datasets
        from rolekd.data.batches import Batches, Normalize
        from rolekd.train import augmentation

        torch.set_num_threads(1)
        self.params = _params(method, epochs)
        self.method, self.seed = method, seed
        self.dataset = datasets.load(data)
        self.normalize = Normalize(self.dataset)
        self.batches = Batches(self.dataset, "search_train", 128, seed, self.normalize)
        engine = augmentation.make_engine(self.params.augment, self.dataset, 1)
        self.augment_at = augmentation.constant(engine, None)

    def student(self, teacher_file: Path) -> tuple[Any, Any]:
        """Return the student and its objective."""
        from rolekd.distill.distillation import Distillation
        from rolekd.distill.objective import Objective
        from rolekd.train import roles

        teacher = roles.load(teacher_file, self.dataset)
        student = roles.student(self.params.student, self.dataset, self.seed, teacher[0])
        if self.method == PLAIN:
            return student[0], Objective()
        return student[0], Distillation(student, teacher, self.params.distill, self.seed)

    def fit(self, network: Any, objective: Any, training: Any, state_file: Path) -> dict[str, Any]:
        """Train to the end; return accuracies."""
        from rolekd.train.evaluate import accuracy, predict
        from rolekd.train.fit import fit
        from rolekd.train.training import Training

        trained = Training(
            network,
            objective,
            self.batches,
            self.augment_at,
            training,
        )
        history = fit(trained, state_file)
        images, labels = self.dataset.split("test")
        test = accuracy(predict(network, images, self.normalize), labels)
        return {"test": test, "train": history[-1]["accuracy"]}


def _teacher(state: Path, epochs: int) -> dict[str, Any]:
    from rolekd.distill.objective import Objective
    from rolekd.train import roles
    from rolekd.train import state as states

    setting = _Setting(state / "data", PLAIN, 0, epochs)
    network, about = roles.teacher(setting.params.teacher, setting.dataset, 0)
    training = setting.params.teacher.training
    result = setting.fit(network, Objective(), training, state / "teacher.state")
    states.save_weights(state / "teacher.safetensors", network, about)
    return result


def _run(state: Path, method: str, seed: int, epochs: int) -> dict[str, Any]:
    setting = _Setting(state / "data", method, seed, epochs)
    network, objective = setting.student(state / "teacher.safetensors")
    training = setting.params.student.training
    return setting.fit(network, objective, training, state / f"{method}-{seed}.state")


def _milliseconds(state: Path, method: str, epochs: int) -> dict[str, Any]:
    """Median of some steps in the second phase, after one that warms up."""
    from rolekd.distill.objective import Progress
    from rolekd.train.training import Training

    setting = _Setting(state / "data", method, 0, epochs)
    network, objective = setting.student(state / "teacher.safetensors")
    params = setting.params.student.training
    optimizer = Training(network, objective, setting.batches, setting.augment_at, params).optimizer
    images, labels = next(iter(setting.batches.epoch(0, setting.augment_at(0))))
    network.train()
    objective.train()
    progress = Progress(epochs, epochs + 1)
    seconds = []
    for _ in range(1 + STEPS):
        begin = time.perf_counter()
        losses = objective(network, images, labels, progress)
        optimizer.zero_grad(set_to_none=True)
        objective.backward(losses, network, progress)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return {"milliseconds": 1e3 * statistics.median(seconds[1:])}


def _kept(path: Path, function: Any, *arguments: Any) -> dict[str, Any]:
    """Return the result in `path`, made now if it is not there."""
    if not path.exists():
        files.write_json(path, function(*arguments))
    result: dict[str, Any] = files.read_json(path)
    return result


def _prepare(raw: Path, state: Path) -> dict[str, Any]:
    from rolekd.data import dataset as datasets
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    params = DataParams(source="cifar10", path=raw, search_validation_fraction=0.92)
    whole = prepare(params, seed=0)
    datasets.save_splits(whole, ("search_train", "test"), state / "data")
    return {"images": len(whole.splits["search_train"]), "digest": whole.digest}


def _table(state: Path, methods: list[str], seeds: int, epochs: int, command: str) -> str:
    from benchmarks.machine import describe
    from rolekd.distill import registry

    machine = describe(("torch",))
    teacher = files.read_json(state / "teacher.json")
    base = files.read_json(state / f"{PLAIN}.step.json")["milliseconds"]
    lines = [
        "# Methods of distillation, compared",
        "",
        f"`{command}` on {machine['processor']}, {machine['cores']} cores, torch "
        f"{machine['versions']['torch']}, load average {machine['load_average']}. A W2A2 (DoReFa) "
        "ResNet8 of width 16 learns from a float ResNet18 of width 16, whose weights it starts "
        f"from where shapes agree, on 4,000 training images of CIFAR-10: {epochs} epochs of batch "
        f"128, Adam, 3e-3, {seeds} seeds, the same for all; lambda 0.4, x0.6 where the rate "
        f"decays. Accuracy on the 10,000 test images, which decided nothing; the teacher has "
        f"{100 * teacher['test']:.1f} %.",
        "",
        "| method | losses, weights | gradient | test accuracy %, each seed | mean | training % "
        "| ms per step | step, relative |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in methods:
        runs = [files.read_json(state / f"{name}-{seed}.json") for seed in range(seeds)]
        step = files.read_json(state / f"{name}.step.json")["milliseconds"]
        losses = {} if name == PLAIN else registry.resolve(name)
        weights = ", ".join(f"{loss} {weight:g}" for loss, weight in losses.items()) or "none"
        clipped = any(registry.find(loss).clipped for loss in losses)
        rule = "clipped" if clipped else "sum" if losses else ""
        each = ", ".join(f"{100 * run['test']:.1f}" for run in runs)
        mean, train = (100 * statistics.mean(run[key] for run in runs) for key in ("test", "train"))
        lines.append(
            f"| {name} | {weights} | {rule} | {each} | {mean:.1f} | {train:.1f} "
            f"| {step:.0f} | {step / base:.2f} |"
        )
    lines += [
        "",
        "- A step has one thread and 128 images, the teacher's forward pass included; fitnet, fsp "
        "and ab are measured in their second phase.",
        "- Few epochs and few images: the order of the methods here says little about long "
        "trainings, and seeds differ by as much as most methods do.",
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("raw", type=click.Path(exists=True, path_type=Path))
@click.option("--epochs", default=8, show_default=True)
@click.option("--seeds", default=2, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--method", "chosen", multiple=True, help="Some methods only; plain is always there.")
@click.option("--state", type=click.Path(path_type=Path), help="Default: beside the raw data.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(
    raw: Path,
    epochs: int,
    seeds: int,
    workers: int,
    chosen: tuple[str, ...],
    state: Path | None,
    out: Path,
) -> None:
    """Run the comparison on the binary files of CIFAR-10 in RAW."""
    from rolekd.distill.registry import COMBINATIONS, LOSSES

    state = (state or raw / "methods") / f"{epochs}-epochs"
    _kept(state / "data.json", _prepare, raw, state)
    methods = [PLAIN, *(chosen or (*LOSSES, *COMBINATIONS))]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pool.submit(_kept, state / "teacher.json", _teacher, state, epochs).result()
        runs = {
            (method, seed): pool.submit(
                _kept, state / f"{method}-{seed}.json", _run, state, method, seed, epochs
            )
            for seed in range(seeds)
            for method in methods
        }
        for (method, seed), run in runs.items():
            click.echo(f"{method}, seed {seed}: {100 * run.result()['test']:.2f} %")
    for method in methods:
        _kept(state / f"{method}.step.json", _milliseconds, state, method, epochs)
    command = f"python -m results.methods.run FOLDER --epochs {epochs} --seeds {seeds}"
    files.write_text(out / "methods.md", _table(state, methods, seeds, epochs, command))
    click.echo((out / "methods.md").read_text())


if __name__ == "__main__":
    main()
