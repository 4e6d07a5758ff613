"""Stage prepare: read the source, split it, compute statistics."""

import click

from pipelines.stage import DATA, open_stage
from rolekd.cli import run


@click.command()
def main() -> None:
    """Read the source that params.yaml names, split it and compute its statistics."""
    with open_stage("prepare") as stage:
        from rolekd.data import dataset as datasets
        from rolekd.data import sources

        dataset = sources.prepare(stage.params.data, stage.params.seed)
        datasets.save(dataset, DATA)
        sizes = {f"images_{name}": len(indices) for name, indices in dataset.splits.items()}
        stage.run.log_dataset(
            dataset.name,
            dataset.digest,
            context="all",
            source=str(stage.params.data.path or dataset.name),
            profile=sizes,
        )
        stage.finish({**sizes, "classes": len(dataset.classes), "data_digest": dataset.digest})


if __name__ == "__main__":
    run(main, "prepare")
