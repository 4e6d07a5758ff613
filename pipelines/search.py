"""Stages search_teacher and search_student: population based training of a role's schedule."""

import os
import shutil
from pathlib import Path

import click

from pipelines.stage import DATA, OUTPUTS, Stage, open_stage
from rolekd.cli import run

TEACHER = OUTPUTS / "train_teacher" / "weights.safetensors"


@click.command()
@click.option("--role", required=True, type=click.Choice(["teacher", "student"]))
def main(role: str) -> None:
    """Search the schedule of one role."""
    with open_stage(f"search_{role}", tags={"role": role}, forks=True) as stage:
        from rolekd import files
        from rolekd.report import histories, style
        from rolekd.report.datafiles import to_csv
        from rolekd.search import history, runner
        from rolekd.search.member import training
        from rolekd.search.population import Settings
        from rolekd.search.progress import SearchProgress
        from rolekd.search.spec import SearchSpec, hash_inputs, versions
        from rolekd.track import store
        from rolekd.track.observers import SearchRuns
        from rolekd.train import names

        params = stage.params
        names.check(params)
        inputs = _inputs(stage, role)
        search = params.search
        spec = SearchSpec(
            seed=params.seed,
            role=role,
            trainer="member",
            settings=Settings(
                **search.model_dump(exclude={"workers", "threads_per_worker"}),
            ),
            threads=search.threads_per_worker,
            training=training(params.model_dump(mode="json"), role),
            inputs=hash_inputs(inputs),
            versions=versions(),
        )
        home = store.project_root() / ".rolekd"
        artifacts = home / "artifacts" / spec.name
        with SearchProgress(f"search of the {role}'s schedule") as progress:
            found = runner.run(
                spec,
                inputs,
                stage.state,
                [progress, SearchRuns(stage.run)],
                workers=search.workers,
                # set by `rolekd search` for a database that other machines reach
                storage=os.environ.get("ROLEKD_STORAGE", f"sqlite:///{home / 'optuna.db'}"),
                artifacts=os.environ.get("ROLEKD_ARTIFACTS", str(artifacts)),
            )
        found.schedule.save(stage.folder / "schedule.json")
        files.write_text(stage.folder / "history.csv", to_csv(history.rows(found)))
        files.write_json(stage.folder / "lineage.json", history.lineage(found))
        slots = histories.read_search(stage.folder / "history.csv")
        figure = histories.search_figure(slots, f"Search of the {role}'s schedule")
        style.save(figure, stage.folder / "population.svg")
        for name in ("schedule.json", "lineage.json", "population.svg"):
            stage.run.log_artifact(stage.folder / name)
        shutil.rmtree(artifacts, ignore_errors=True)
        stage.finish({"accuracy": found.line[-1].accuracy}, ends_of_curves=True)


def _inputs(stage: Stage, role: str) -> Path:
    """Make the folder of what the search may see: no test image, no image outside the search."""
    from rolekd.data import dataset as datasets
    from rolekd.data import fits

    folder = stage.state / "inputs"
    shutil.rmtree(folder, ignore_errors=True)
    dataset, splits = datasets.load(DATA), ("search_train", "search_val")
    fits.check(stage.params, dataset.image_size, len(dataset.splits["train"]))
    for split in splits:
        stage.log_split(dataset, split)
    datasets.save_splits(dataset, splits, folder / "data")
    if role == "student":
        shutil.copy(TEACHER, folder / "teacher.safetensors")
    return folder


if __name__ == "__main__":
    run(main, "search")
