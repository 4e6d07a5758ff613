"""Stage distill: the students of one arm, all seeds, on the whole training set."""

from statistics import mean

from rolekd import files, parallel, seeds
from rolekd.augment import named
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.display import say
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import Objective
from rolekd.outputs import TrainingMetrics
from rolekd.report.datafiles import to_csv
from rolekd.stages.stage import Stage
from rolekd.train import devices, names, roles, state
from rolekd.train.augmentation import applied, make_engine
from rolekd.train.fit import fit


def distill(stage: Stage, name: str) -> None:
    """Train the students of the arm `name`."""
    params, outputs = stage.params, stage.outputs
    names.check(params)
    arm, training = params.compare.arms[name], params.student.training
    device = devices.prepare(params.machine.device, params.threads)
    parallel.join(device)
    dataset = datasets.load(outputs.data)
    teacher, teacher_about = roles.load(outputs.teacher(arm.teacher), dataset)
    teacher.to(device)
    engine = make_engine(params.augment, dataset, params.threads)
    augmentation = named.load(outputs.augmentation(name)).over(training.epochs)
    stage.log_split(dataset, "train")
    students, rows = [], []
    for number in range(params.compare.seeds):
        # the same for every arm: seeds are pairs in the comparison
        seed = seeds.derive(params.seed, "distill", number)
        start = teacher if arm.starts_from == "teacher" else None
        network, about = roles.student(params.student, dataset, seed, start)
        network.to(device)
        objective = Objective()
        if arm.distilled:
            described = (network, about), (teacher, teacher_about)
            objective = Distillation(*described, params.distill, seed)
        with stage.run.child(f"{name} seed {number}", {"arm": name, "seed": number}) as child:
            child.log_params({"copied_from_teacher": about["copied_from_teacher"]})
            history = fit(
                network,
                Batches(dataset, "train", training.batch_size, seed, Normalize(dataset, device)),
                applied(engine, augmentation),
                objective,
                training,
                state_file=stage.state / f"seed-{number}.safetensors",
                reporters=[child],
            )
        students.append((network, {**about, "arm": name, "seed": number}))
        rows += [{"seed": number, **row} for row in history]
        if stage.leads:
            say(f"{name}: seed {number} trained, loss {history[-1]['loss']:.4f}")
    if not stage.leads:
        return
    with files.replacing_folder(outputs.students(name)) as folder:
        for network, about in students:
            path = folder / outputs.student(name, about["seed"]).name
            state.save_weights(path, network, about)
    files.write_text(outputs.epochs("distill", name), to_csv(rows))
    last = [row for row in rows if row["epoch"] == training.epochs - 1]
    stage.finish(
        TrainingMetrics(
            train_loss=mean(row["loss"] for row in last),
            train_accuracy=mean(row["accuracy"] for row in last),
        )
    )
