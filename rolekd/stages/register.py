"""Stage register: the exported student as a new version in the MLflow registry."""

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.display import say
from rolekd.export import measure, session
from rolekd.outputs import Arms, ExportMetrics, Failures, RegisterMetrics, Version
from rolekd.registry import evidence, versions
from rolekd.registry.card import card
from rolekd.stages.export import SEED
from rolekd.stages.stage import Stage
from rolekd.track import provenance

_EXAMPLES = 4


def register(stage: Stage) -> None:
    """Register the student under the alias challenger."""
    params, outputs = stage.params, stage.outputs
    dataset = datasets.load(outputs.data)
    found = evidence.collect(outputs, Arms.load(outputs.arms).exported, SEED)
    failed = Failures.load(outputs.failures).lines
    exported = ExportMetrics.load(outputs.metrics("export"))
    name = versions.model_name(dataset.name)
    latency = measure.of_one_image({"student": session.load(outputs.graph)})["student"].median
    student, code = params.student, provenance.collect()
    about = {
        "data_digest": dataset.digest,
        **{
            f"{role}_schedule_sha256": files.sha256(outputs.schedule(role))
            for role in outputs.searched()
        },
        "weight_bits": student.bits,
        "activation_bits": student.activation_bits or student.bits,
        "accuracy": exported.accuracy,
        "bytes": exported.bytes,
        "latency_ms": round(latency, 4),
        "machine": provenance.processor(),
        **({"failures": " ".join(failed)} if failed else {}),
        "export_run_id": exported.mlflow_run_id,
        "git_commit": code.commit,
        "git_dirty": code.changes,
        **code.dvc,
    }
    version = versions.register(
        outputs.graph,
        name=name,
        run_id=stage.run.run_id(),
        example=dataset.split("test")[0][:_EXAMPLES],
        description=versions.Description(
            tags=about,
            metrics={
                "accuracy": exported.accuracy,
                "teacher_accuracy": found.teacher_accuracy,
                "bytes": exported.bytes,
            },
            evidence=found,
            card=card(found, dataset, about, name, failed),
        ),
        uri=params.track.uri,
    )
    Version(name=version.name, version=version.number, uri=version.uri).save(outputs.version)
    stage.finish(RegisterMetrics(version=version.number))
    say(f"registered {version.name} version {version.number} as challenger")
    for line in failed:
        say(f"warning: {line}", err=True)
