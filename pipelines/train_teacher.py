"""Stage train_teacher: full precision, on the whole training set, with its own schedule."""

import click

from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run


@click.command()
def main() -> None:
    """Train the teacher with the schedule that was searched for it."""
    with open_stage("train_teacher", team=True, tags={"role": "teacher"}) as stage:
        from rolekd import files, parallel, seeds
        from rolekd.augment import schedule as schedules
        from rolekd.data import dataset as datasets
        from rolekd.data import fits
        from rolekd.data.batches import Batches, Normalize
        from rolekd.distill.objective import Objective
        from rolekd.report.datafiles import to_csv
        from rolekd.train import devices, names, roles, state
        from rolekd.train.augmentation import make_engine, scheduled
        from rolekd.train.fit import fit

        params = stage.params
        names.check(params)
        device = devices.prepare(params.device, params.threads)
        parallel.join(device)
        dataset = datasets.load(DATA)
        fits.check(params, dataset.image_size, len(dataset.splits["train"]))
        schedule = schedules.load(OUTPUTS / "search_teacher" / "schedule.json")
        seed = seeds.derive(params.seed, "train teacher")
        training = params.teacher.training
        network, about = roles.teacher(params.teacher, dataset, seed)
        history = fit(
            network.to(device),
            Batches(dataset, "train", training.batch_size, seed, Normalize(dataset, device)),
            scheduled(
                make_engine(params.augment, dataset, params.threads), schedule, training.epochs
            ),
            Objective(),
            training,
            state_file=stage.state / "training.safetensors",
            reporters=[stage.run],
        )
        if not stage.leads:
            return
        stage.log_split(dataset, "train")
        state.save_weights(stage.folder / "weights.safetensors", network, about)
        files.write_text(stage.folder / "epochs.csv", to_csv(history))
        last = history[-1]
        stage.finish(
            {"train_loss": last["loss"], "train_accuracy": last["accuracy"]}, ends_of_curves=True
        )


if __name__ == "__main__":
    run(main, "train_teacher")
