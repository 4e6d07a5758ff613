"""Stage distill: the students of one arm, all seeds, on the whole training set."""

import click

from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run
from rolekd.train.arms import ARMS


@click.command()
@click.option("--arm", required=True, type=click.Choice(list(ARMS)))
def main(arm: str) -> None:
    """Train the students of one arm."""
    with open_stage(
        "distill", arm, matrix={"arm": arm}, tags={"role": "student", "arm": arm}, team=True
    ) as stage:
        from rolekd import files, parallel, seeds
        from rolekd.augment import schedule as schedules
        from rolekd.data import dataset as datasets
        from rolekd.data import fits
        from rolekd.data.batches import Batches, Normalize
        from rolekd.distill.distillation import Distillation
        from rolekd.distill.objective import Objective
        from rolekd.report.datafiles import to_csv
        from rolekd.train import augmentation, devices, names, roles, state
        from rolekd.train.fit import fit

        params = stage.params
        names.check(params)
        device = devices.prepare(params.device, params.threads)
        parallel.join(device)
        dataset = datasets.load(DATA)
        fits.check(params, dataset.image_size, len(dataset.splits["train"]))
        weights = OUTPUTS / "train_teacher" / "weights.safetensors"
        teacher, teacher_about = roles.load(weights, dataset)
        teacher.to(device)
        found = {
            role: schedules.load(OUTPUTS / f"search_{role}" / "schedule.json")
            for role in ("teacher", "student")
        }
        chosen = ARMS[arm]
        training = params.student.training
        augment_at = augmentation.of_arm(
            chosen,
            augmentation.make_engine(params.augment, dataset, params.threads),
            found,
            training.epochs,
        )
        stage.log_split(dataset, "train")
        students, rows = [], []
        for number in range(params.distill.seeds):
            # the same for every arm: seeds are pairs in the comparison
            seed = seeds.derive(params.seed, "distill", number)
            network, about = roles.student(params.student, dataset, seed, teacher)
            network.to(device)
            objective = Objective()
            if chosen.taught:
                described = (network, about), (teacher, teacher_about)
                objective = Distillation(*described, params.distill, seed)
            with stage.run.child(f"{arm} seed {number}", {"arm": arm, "seed": number}) as child:
                child.log_params({"copied_from_teacher": about["copied_from_teacher"]})
                history = fit(
                    network,
                    Batches(
                        dataset, "train", training.batch_size, seed, Normalize(dataset, device)
                    ),
                    augment_at,
                    objective,
                    training,
                    state_file=stage.state / f"seed-{number}.safetensors",
                    scale_decay=params.distill.scale_decay,
                    reporters=[child],
                )
            students.append((network, {**about, "arm": arm, "seed": number}))
            rows += [{"seed": number, **row} for row in history]
            if stage.leads:
                click.echo(f"{arm}: seed {number} trained, loss {history[-1]['loss']:.4f}")
        if not stage.leads:
            return
        with files.replacing_folder(stage.folder / "weights") as folder:
            for network, about in students:
                state.save_weights(folder / f"seed-{about['seed']}.safetensors", network, about)
        files.write_text(stage.folder / "epochs.csv", to_csv(rows))
        last = [row for row in rows if row["epoch"] == training.epochs - 1]
        stage.finish(
            {
                f"train_{name}": sum(row[name] for row in last) / len(last)
                for name in ("loss", "accuracy")
            }
        )


if __name__ == "__main__":
    run(main, "distill")
