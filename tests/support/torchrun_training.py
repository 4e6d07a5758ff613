"""Started by torchrun (and imported by its test): a teacher, its student, and one that adapts."""

import json
import sys
from pathlib import Path

import torch

from rolekd import parallel, processes
from rolekd.augment.handmade import Adaptive
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    DistillParams,
    ModelParams,
    StudentParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.sources.prepare import prepare
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.fit import fit
from rolekd.train.training import Training

TRAINING = TrainingParams(epochs=2, batch_size=63, optimizer="sgd", learning_rate=0.02)
# logits, features through adapters, heads that learn first, a rule that is not linear
DISTILL = DistillParams(loss={"soft": 1.0, "rkd": 0.1, "mhgd": 1.0, "at": 1.0})
RICH = TRAINING.model_copy(
    update={
        "accumulate": 2,
        "ema_decay": 0.9,
        "clip_norm": 1.0,
        "lr_schedule": "cosine",
        "reestimate_batchnorm": 200,
    }
)


def histories(folder):
    """Train all; return their rows of metrics, and the sum of the last one's weights."""
    torch.set_num_threads(1)
    parallel.join_group(torch.device("cpu"))
    digits = prepare(DataParams(), seed=0)
    taught = roles.teacher(TeacherParams(model=ModelParams(width=4)), digits, 0)
    teacher = taught[0]
    # DoReFa: LSQ's steps carry differences of rounding to other levels within an epoch
    student_params = StudentParams(model=ModelParams(width=4), quantizer="dorefa")
    engine = make_engine(BaseAugmentParams(), digits, 1)
    rows = []
    for name, training, policy in (
        ("adaptive", TRAINING, Adaptive()),
        ("teacher", TRAINING, None),
        ("student", RICH, None),
    ):
        if name == "adaptive":
            network, _ = roles.teacher(TeacherParams(model=ModelParams(width=4)), digits, 2)
            objective = Objective()
        elif name == "teacher":
            network, objective = teacher, Objective()
        else:
            student = roles.student(student_params, digits, 1, teacher)
            network, objective = student[0], Distillation(student, taught, DISTILL, 1)
        augment_at = constant(engine, policy)
        # few steps: differences of rounding grow
        batches = Batches(digits, "search_val", training.batch_size, 0, Normalize(digits))
        trained = Training(network, objective, batches, augment_at, training)
        rows += fit(trained, folder / name)
    return rows, float(sum(p.double().abs().sum() for p in network.state_dict().values()))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    found = histories(out)
    (out / f"{processes.team_rank()}.json").write_text(json.dumps(found))
