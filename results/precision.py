"""Accuracy of trainings in float32 and bfloat16 on digits, over seeds, as Markdown.

    python -m results.precision 10 > results/precision.md

Teacher and distilled student of the default run, trained on search_train and measured on
search_val: test images decide nothing.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from torch import nn

from benchmarks import machine
from rolekd import presets
from rolekd.data.batches import Batches, Normalize
from rolekd.data.dataset import Dataset
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.params import Params, TrainingParams, parse
from rolekd.sources.prepare import prepare
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.evaluate import accuracy, predict
from rolekd.train.fit import fit
from rolekd.train.training import Training


def _trained(
    network: nn.Module,
    objective: Objective,
    training: TrainingParams,
    params: Params,
    data: Dataset,
    seed: int,
) -> float:
    """Train on search_train; return the accuracy on search_val in percent."""
    normalize = Normalize(data)
    with tempfile.TemporaryDirectory() as folder:
        trained = Training(
            network,
            objective,
            Batches(data, "search_train", training.batch_size, seed, normalize),
            constant(make_engine(params.augment, data, 1), None),
            training,
        )
        fit(trained, Path(folder) / "state")
    images, labels = data.split("search_val")
    return 100 * accuracy(predict(network, images, normalize), labels)


def main(seeds: int) -> None:
    """Train each role with each precision and seed."""
    torch.set_num_threads(1)
    params = parse(yaml.safe_load(presets.find("digits").text), "digits")
    data = prepare(params.data, params.seed)
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        for precision in ("float32", "bfloat16"):
            change = {"precision": precision}
            teacher = roles.teacher(params.teacher, data, seed)
            training = params.teacher.training.model_copy(update=change)
            value = _trained(teacher[0], Objective(), training, params, data, seed)
            found.setdefault(("teacher", precision), []).append(value)
            student = roles.student(params.student, data, seed, teacher[0])
            training = params.student.training.model_copy(update=change)
            objective = Distillation(student, teacher, params.distill, seed)
            value = _trained(student[0], objective, training, params, data, seed)
            found.setdefault(("student W2A2", precision), []).append(value)
    about = machine.describe(("torch",))
    lines = [
        "# bfloat16 on digits\n",
        f"`python -m results.precision {seeds}`: {about['processor']}, torch "
        f"{about['versions']['torch']}, 1 thread.",
        f"Accuracy on search_val in percent, {seeds} seeds.\n",
        "| role | float32 | bfloat16 | mean difference ± its standard error |",
        "|---|---|---|---|",
    ]
    for role in ("teacher", "student W2A2"):
        single, half = found[role, "float32"], found[role, "bfloat16"]
        changes = [b - a for a, b in zip(single, half, strict=True)]
        cells = [f"{statistics.mean(v):.2f} ± {statistics.stdev(v):.2f}" for v in (single, half)]
        error = statistics.stdev(changes) / seeds**0.5
        lines.append(
            f"| {role} | {cells[0]} | {cells[1]} | {statistics.mean(changes):+.2f} ± {error:.2f} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
