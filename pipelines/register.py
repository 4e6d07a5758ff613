"""Stage register: the exported student as a new version in the MLflow registry."""

import click

from pipelines.export import ARM, SEED
from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run
from rolekd.display import say

_EXAMPLES = 4


@click.command()
def main() -> None:
    """Register the student under the alias challenger."""
    with open_stage("register") as stage:
        from rolekd import files
        from rolekd.bench.costs import latencies
        from rolekd.data import dataset as datasets
        from rolekd.track import evidence, provenance, registry
        from rolekd.track.card import card

        dataset = datasets.load(DATA)
        found = evidence.collect(OUTPUTS, ARM, SEED)
        path = OUTPUTS / "export" / "student.onnx"
        exported = files.read_json(OUTPUTS / "export" / "metrics.json")
        student, code = stage.params.student, provenance.collect()
        name = registry.model_name(dataset.name)
        about = {
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
            "bytes": exported["bytes"],
            "latency_ms": round(
                latencies({"student": path}, dataset.images.shape[1:])["student"], 4
            ),
            "machine": provenance.processor(),
            "export_run_id": exported["mlflow_run_id"],
            "git_commit": code.commit,
            "git_dirty": code.dirty,
            **code.dvc,
        }
        version = registry.register(
            path,
            name=name,
            run_id=stage.run.run_id(),
            example=dataset.split("test")[0][:_EXAMPLES],
            tags=about,
            metrics={
                "accuracy": exported["accuracy"],
                "teacher_accuracy": found.teacher_accuracy,
                "bytes": exported["bytes"],
            },
            evidence=found,
            card=card(found, dataset, about, name),
            uri=stage.params.track.uri,
        )
        files.write_json(
            stage.folder / "version.json",
            {"name": version.name, "version": version.number, "uri": version.uri},
        )
        stage.finish({"version": version.number})
        say(f"registered {version.name} version {version.number} as challenger")


if __name__ == "__main__":
    run(main, "register")
