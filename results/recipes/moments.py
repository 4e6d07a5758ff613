"""Show what one huge gradient does to a training: Adam's largest second moment after each epoch.

    python -m results.recipes.moments 1   # the seed of the recipe lsq-24 of digits.yaml

For the same before RKD's gradient was bounded, run it in a worktree of commit 6e2832d with this
file and digits.yaml copied into it.
"""

import sys
from pathlib import Path

import click
import torch

from results.recipes.run import dataset_of, params_of
from rolekd import yamlfiles
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.training import Training


@click.command()
@click.argument("seed", type=int)
def main(seed: int) -> None:
    """Train a teacher, then the student; print a line for each of its epochs."""
    torch.set_num_threads(1)
    content = yamlfiles.load(Path(__file__).with_name("digits.yaml"))
    params = params_of(content["base"])
    data = dataset_of("digits", content["train"], content["validation"])
    augment_at = constant(make_engine(params.augment, data, 1), None)
    teacher = roles.teacher(params.teacher, data, seed)
    student = roles.student(params.student, data, seed, None)
    for network, section, taught in (
        (teacher[0], params.teacher, False),
        (student[0], params.student, True),
    ):
        objective = Distillation(student, teacher, params.distill, seed) if taught else Objective()
        size = section.training.batch_size
        batches = Batches(data, "search_train", size, seed, Normalize(data))
        training = Training(network, objective, batches, augment_at, section.training)
        while not training.finished:
            row = training.run_epoch()
            largest = max(float(s["exp_avg_sq"].max()) for s in training.optimizer.state.values())
            if taught:
                sys.stdout.write(
                    f"epoch {training.epoch}: largest second moment {largest:.3g}, training "
                    f"accuracy {row['accuracy']:.3f}, levels changed {row['levels_changed']:.4f}\n"
                )


if __name__ == "__main__":
    main()
