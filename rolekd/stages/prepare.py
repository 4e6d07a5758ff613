"""Stage prepare: read the source, split it, compute statistics."""

from functools import partial

from rolekd import files
from rolekd.data import fits
from rolekd.display import say
from rolekd.outputs import PrepareMetrics
from rolekd.sources.prepare import OnProgress, prepare_folder
from rolekd.stages import checks
from rolekd.stages.stage import Stage


def prepare(stage: Stage, progress: OnProgress | None = None) -> None:
    """Read the source that params.yaml names, split it and compute its statistics."""
    checks.check(stage.params)
    outputs = stage.outputs
    files.clear_unfinished(outputs.data)
    dataset, quality = prepare_folder(
        stage.params.data,
        stage.params.seed,
        outputs.data,
        progress,
        partial(fits.check, stage.params),
    )
    say(f"{quality.images} images of {len(dataset.classes)} classes", *quality.fates())
    for line in quality.warnings():
        kind = "warning" if line in quality.alarms() else "note"
        say(f"{kind}: {line} (see {outputs.quality})", err=True)
    sizes = {f"images_{name}": size for name, size in dataset.sizes.items()}
    stage.log_dataset(dataset, "all", sizes)
    found = {**sizes, **quality.metrics(), "classes": len(dataset.classes)}
    stage.finish(PrepareMetrics.model_validate({**found, "data_digest": dataset.digest}))
