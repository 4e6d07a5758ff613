"""Stage prepare: read the source, split it, compute statistics."""

import click

from pipelines.stage import DATA, open_stage
from rolekd.cli import run


@click.command()
def main() -> None:
    """Read the source that params.yaml names, split it and compute its statistics."""
    with open_stage("prepare") as stage:
        from rolekd import files
        from rolekd.data.prepare import prepare_folder
        from rolekd.data.progress import Bar
        from rolekd.train import names

        names.check(stage.params)
        files.clear_unfinished(DATA)
        with Bar() as bar:
            dataset, quality = prepare_folder(stage.params.data, stage.params.seed, DATA, bar.show)
        click.echo(
            f"{quality.images} images of {len(dataset.classes)} classes: "
            f"{len(dataset.splits['train'])} to train on, {len(dataset.splits['test'])} to test on"
        )
        for line in quality.warnings():
            click.echo(f"note: {line} (see {DATA}/quality.json)", err=True)
        sizes = {f"images_{name}": len(indices) for name, indices in dataset.splits.items()}
        stage.run.log_dataset(
            dataset.name,
            dataset.digest,
            context="all",
            source=str(stage.params.data.path),
            profile=sizes,
        )
        stage.finish(
            {
                **sizes,
                **quality.metrics(),
                "classes": len(dataset.classes),
                "data_digest": dataset.digest,
            }
        )


if __name__ == "__main__":
    run(main, "prepare")
