"""Measure how long each loss's gradient is compared with the cross-entropy's, over trainings.

    python -m results.methods.gradients digits results/methods/digits.yaml
    python -m results.methods.gradients /tmp/cifar results/methods/cifar10.yaml --only rkd,ab,ii

It trains every distilling method of the file once more, with seed 0, and measures every batch. A
row of gradients.csv is one loss of a method in one epoch: the medians over the batches of the
length of its gradient with respect to the student's weights, with its weight and lambda, divided by
that of the cross-entropy (`ratio`); of the same as it is added, clipped (`added`; of a method's
clipped losses together); and of the cosine of the two gradients; and the largest ratio of a batch
(`largest`). Losses that wait for their phase do not have a row. Existing rows of a data set are
kept: run it again to resume. The table goes into results/methods.md, if that has a place for it.
"""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from results.methods.run import Run, params_for, put
from rolekd import yamlfiles
from rolekd.distill.distillation import Distillation, clip, clip_share
from rolekd.distill.objective import EpochProgress, Losses

COLUMNS = ("data", "method", "epoch", "loss", "ratio", "added", "cosine", "largest")
CLIPPED = "clipped"  # the clipped losses of a method together
OUT = Path(__file__).with_suffix(".csv")


class Measured(Distillation):
    """Measures the gradients of its terms before it adds them up."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
        self._values: dict[str, Tensor] = {}
        for name, term in self._terms.items():
            term.register_forward_hook(
                lambda _module, _inputs, value, name=name: self._values.update({name: value})
            )

    def forward(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: EpochProgress
    ) -> Losses:
        """Run as usual; keep what is measured."""
        self._values, self._labels = {}, labels
        return super().forward(network, images, labels, progress)

    def backward(self, losses: Losses, network: nn.Module, progress: EpochProgress) -> None:
        """Measure, then continue as usual."""
        self._measure(losses, network, progress)
        self._values = {}
        super().backward(losses, network, progress)

    def _measure(self, losses: Losses, network: nn.Module, progress: EpochProgress) -> None:
        weights = [p for p in network.parameters() if p.requires_grad]

        def gradient(value: Tensor) -> list[Tensor]:
            return list(
                torch.autograd.grad(
                    value, weights, retain_graph=True, allow_unused=True, materialize_grads=True
                )
            )

        task = gradient(F.cross_entropy(losses.logits, self._labels))
        scale = self._params.weight * self._params.decay_factor**progress.decays
        for name, value in self._values.items():
            found = gradient(scale * self._weights[name] * value)
            ratio, cosine = _compare(found, task)
            added = float("nan") if self._terms[name].clipped else ratio
            self.seen.setdefault((progress.epoch, name), []).append((ratio, added, cosine))
        if losses.clipped is not None:
            found = gradient(losses.clipped)
            bounded = clip(found, gradient(losses.free), clip_share(progress.epoch))
            added, cosine = _compare([g for g in bounded if g is not None], task)
            ratio = _compare(found, task)[0]
            self.seen.setdefault((progress.epoch, CLIPPED), []).append((ratio, added, cosine))


def _compare(gradient: Sequence[Tensor], task: Sequence[Tensor]) -> tuple[float, float]:
    """Return the length beside the task's and the cosine of two gradients."""
    one, other = (torch.cat([part.flatten() for part in parts]) for parts in (gradient, task))
    return float(one.norm() / other.norm()), float(F.cosine_similarity(one, other, dim=0))


def measure(place: str, content: dict[str, Any], method: str, folder: Path) -> list[list[Any]]:
    """Train one method; return its rows, without the data's name."""
    run = Run(place, content, method, 0)
    teacher = run.teacher(folder, content["teacher_augmentation"])
    network, objective = run.student(teacher, Measured)
    state = folder / f"{method}.gradients.state"
    state.unlink(missing_ok=True)  # half a training would lack its first epochs
    run.fit(network, objective, run.params.student.training, state)
    rows = []
    for (epoch, loss), found in objective.seen.items():
        columns = [*zip(*found, strict=True)]
        medians = [f"{statistics.median(column):.3g}" for column in columns]
        rows.append([method, epoch, loss, *medians, f"{max(columns[0]):.3g}"])
    return rows


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--only", help="Names of methods, with commas between.", default="")
def main(place: str, file: Path, only: str) -> None:
    """Measure what is not in gradients.csv yet."""
    content = yamlfiles.load(file)
    folder = file.parent / f".{file.stem}"
    folder.mkdir(exist_ok=True)
    done = set()
    if OUT.exists():
        done = {(row["data"], row["method"]) for row in csv.DictReader(OUT.open())}
    else:
        OUT.write_text(",".join(COLUMNS) + "\n")
    chosen = only.split(",") if only else list(content["methods"])
    for method in content["methods"]:
        if method not in chosen or (file.stem, method) in done:
            continue
        if not params_for(content, method)[1]:
            continue
        rows = measure(place, content, method, folder)
        with OUT.open("a", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows([file.stem, *row] for row in rows)
    put(f"gradients {file.stem}", table(file.stem))


def table(data: str) -> str:
    """Return ratios, and cosines in brackets, in some epochs, and the largest ratio of a training.

    What is clipped together has a line where the clipping changes it.
    """
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader(OUT.open()):
        if row["data"] == data:
            found.setdefault((row["method"], row["loss"]), []).append(row)
    last = max(int(row["epoch"]) for rows in found.values() for row in rows)
    epochs = (0, (last + 1) // 4, (last + 1) // 2, last)
    lines = [
        f"| method | loss | {' | '.join(f'epoch {epoch}' for epoch in epochs)} | largest |",
        "|---" * (3 + len(epochs)) + "|",
    ]
    for (method, loss), rows in found.items():
        if loss == CLIPPED and all(row["added"] == row["ratio"] for row in rows):
            continue
        cells = {int(row["epoch"]): _cell(row) for row in rows}
        columns = [cells.get(epoch, "") for epoch in epochs]
        # rows of the first measurements have none
        columns.append(max((row["largest"] for row in rows), key=lambda x: float(x or 0)))
        lines.append(f"| {method} | {loss} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, str]) -> str:
    clipped = f", clipped to {row['added']}" if row["loss"] == CLIPPED else ""
    return f"{row['ratio']}{clipped} ({float(row['cosine']):+.2f})"


if __name__ == "__main__":
    main()
