"""Stage register: the exported student as a new version in the MLflow registry."""

import click

from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run

_EXAMPLES = 4


@click.command()
def main() -> None:
    """Register the student under the alias challenger."""
    with open_stage("register") as stage:
        from rolekd import files
        from rolekd.data import dataset as datasets
        from rolekd.track import provenance, registry

        dataset = datasets.load(DATA)
        exported = files.read_json(OUTPUTS / "export" / "metrics.json")
        arms = files.read_json(OUTPUTS / "evaluate" / "arms.json")["arms"]
        teacher = files.read_json(OUTPUTS / "evaluate" / "metrics.json")["teacher_accuracy"]
        student = stage.params.student
        about = provenance.collect()
        version = registry.register(
            OUTPUTS / "export" / "student.onnx",
            name=registry.model_name(dataset.name),
            run_id=stage.run.run_id(),
            example=dataset.split("test")[0][:_EXAMPLES],
            tags={
                "data_digest": dataset.digest,
                **{
                    f"{role}_schedule_sha256": files.sha256(
                        OUTPUTS / f"search_{role}" / "schedule.json"
                    )
                    for role in ("teacher", "student")
                },
                "weight_bits": student.bits,
                "activation_bits": student.activation_bits or student.bits,
                "accuracy": exported["accuracy"],
                "export_run_id": exported["mlflow_run_id"],
                "git_commit": about.commit,
                "git_dirty": about.dirty,
                **about.dvc,
            },
            metrics={
                "accuracy": exported["accuracy"],
                "teacher_accuracy": teacher,
                "bytes": exported["bytes"],
                **{f"arm_{row['arm']}_accuracy": row["accuracy"] for row in arms},
            },
            uri=stage.params.track.uri,
        )
        files.write_json(
            stage.folder / "version.json",
            {"name": version.name, "version": version.number, "uri": version.uri},
        )
        stage.finish({"version": version.number})
        click.echo(f"registered {version.name} version {version.number} as challenger")


if __name__ == "__main__":
    run(main, "register")
