"""Stage register: the exported student as a new version in the MLflow registry."""

from collections.abc import Mapping

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.display import say
from rolekd.export import measure, session
from rolekd.outputs import Arms, ExportedRecord, Failures, VersionRecord, run_ids
from rolekd.registry import evidence, versions
from rolekd.registry.card import card
from rolekd.stages.stage import Stage
from rolekd.track import provenance, runs

_EXAMPLES = 4
_REPORTED = ("student.", "distill.", "teacher.model.")


def register(stage: Stage) -> None:
    """Register the student: as the challenger, or under the name of the DVC experiment."""
    params, outputs = stage.params, stage.outputs
    dataset = datasets.load(outputs.data)
    student = session.load(outputs.graph)
    seed = int(student.metadata["seed"])
    found = evidence.gather_evidence(outputs, Arms.load(outputs.arms).exported, seed)
    failed = Failures.load(outputs.failures).lines
    stage.log_split(dataset, "test")
    exported = ExportedRecord.load(outputs.verification)
    name = versions.model_name(dataset.name)
    latency = measure.of_one_image({"student": student})["student"].median
    code = provenance.collect()
    about = {
        "data_digest": dataset.digest,
        **{
            f"{role}_schedule_sha256": files.sha256(outputs.schedule(role))
            for role in outputs.searched()
        },
        "weight_bits": params.student.bits,
        "activation_bits": params.student.activation_bits or params.student.bits,
        "test_accuracy": exported.test_accuracy,
        "bytes": exported.bytes,
        "latency_ms": round(latency, 4),
        "machine": provenance.processor(),
        **({"failures": " ".join(failed)} if failed else {}),
        "export_run_id": run_ids(outputs).get("export", ""),
        "git_commit": code.commit,
        "git_dirty": code.changes,
        **code.dvc,
        "task": versions.TASK,
    }
    alias = versions.alias_of(code.dvc.get("dvc.experiment"))
    version = versions.register(
        outputs.graph,
        name=name,
        run_id=stage.run.run_id(),
        example=dataset.split("test")[0][:_EXAMPLES],
        description=versions.Description(
            tags=about,
            metrics={
                "test_accuracy": exported.test_accuracy,
                "test_accuracy.teacher": found.teacher_accuracy,
                "bytes": exported.bytes,
            },
            params={"arm": found.arm, "seed": seed, **_settings(stage.run.params)},
            evidence=found,
            card=card(found, dataset, about, name, failed, alias),
            dataset=(dataset.name, dataset.digest[: runs.DIGEST_LENGTH]),
            model=f"Low-bit classifier of {dataset.name}, distilled from a full-precision teacher; "
            "takes uint8 images, batch first. Each version has a model card.",
        ),
        alias=alias,
        uri=params.track.uri,
    )
    VersionRecord(name=version.name, version=version.number, uri=version.uri).save(outputs.version)
    if stage.run.group is not None:
        stage.run.group.set_tags({"model": version.uri})
    stage.finish()
    say(f"registered {version.name} version {version.number} as {alias}")
    if alias != versions.CHALLENGER:
        say(f"rolekd register {alias} makes it the challenger")
    for line in failed:
        say(f"warning: {line}", err=True)


def _settings(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that say what the student is and how it was trained."""
    return {key: value for key, value in params.items() if key.startswith(_REPORTED)}
