"""From the stages' outputs to the content of the report."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from rolekd import files
from rolekd.augment import named
from rolekd.augment import schedule as schedules
from rolekd.augment.named import NamedAugmentation
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.outputs import (
    Arms,
    ExportedRecord,
    Failures,
    Lineage,
    Outputs,
    SearchMetrics,
    run_ids,
)
from rolekd.params import CONFIRMED
from rolekd.report import finals, genealogy, histories, plots
from rolekd.report.costs import Cost
from rolekd.report.datafiles import load_predictions
from rolekd.report.page import PageContent
from rolekd.report.sheets import policy_sheet
from rolekd.report.tables import Floats, summarise
from rolekd.sources.quality import Quality
from rolekd.train.augmentation import make_engine

if TYPE_CHECKING:
    from rolekd.params import CompareParams, Params

_SHEET_IMAGES = 10


def page_content(
    outputs: Outputs,
    params: "Params",
    provenance: Mapping[str, Mapping[str, object]],
    costs: Sequence[Cost] = (),
    links: Mapping[str, str] | None = None,
) -> PageContent:
    """Read what the stages before the report have written.

    Args:
        outputs: where the stages' outputs are.
        params: of the run.
        provenance: heading -> facts about code and machine, for the end of the page.
        costs: of the teacher, the exported student, and others to compare with.
        links: title -> address of runs and model.

    Raises:
        InputError: an output is missing or damaged.
    """
    dataset = datasets.load(outputs.data)
    logits, labels = load_predictions(outputs.predictions)
    searched, exported = outputs.searched(), Arms.load(outputs.arms).exported
    return PageContent(
        dataset=dataset.name,
        evaluation=summarise(logits, labels, dataset.classes, params.compare),
        schedules={role: schedules.load(outputs.schedule(role)) for role in searched},
        searches={role: histories.read_search(outputs.history(role)) for role in searched},
        finals=finals_of(outputs),
        genealogies={
            role: genealogy.describe_line(Lineage.load(outputs.lineage(role))) for role in searched
        },
        quality=_quality(outputs.quality),
        failures=Failures.load(outputs.failures).lines,
        costs=costs,
        curves=_curves(outputs),
        sheet=sample_sheet(dataset, arm_augmentations(outputs, params.compare), params),
        mistakes=_mistakes(dataset, logits[exported]),
        model={
            "student": _exported(exported, params.compare),
            **_model(ExportedRecord.load(outputs.verification)),
        },
        provenance={
            "Inputs": _inputs(outputs, dataset),
            # these come after the page: what lies there is of the run before
            "MLflow runs": {
                stage: run
                for stage, run in run_ids(outputs).items()
                if stage not in ("report", "register")
            },
            **provenance,
        },
        params=params.model_dump(mode="json"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        links=links or {},
        image_size=dataset.image_size,
    )


def arm_augmentations(outputs: Outputs, compare: "CompareParams") -> dict[str, NamedAugmentation]:
    """Return the augmentations of the arms' students by their names for people, each once."""
    found = {arm: named.load(outputs.augmentation(arm)) for arm in compare.arms}
    return {named.describe(one.name): one for one in found.values()}


def sample_sheet(
    dataset: Dataset, shown: Mapping[str, NamedAugmentation], params: "Params"
) -> Figure:
    """Draw training images of as many classes as fit, under the students' augmentations.

    They are drawn by the augmentation and engine of training. For a schedule, the last epoch is
    shown.
    """
    images, labels = dataset.split("train")
    _, first = np.unique(labels, return_index=True)
    epochs = params.student.training.epochs
    last = {title: one.over(epochs)(epochs - 1) for title, one in shown.items()}
    engine = make_engine(params.augment, dataset, threads=1)
    return policy_sheet(images[first[:_SHEET_IMAGES]], last, engine, params.seed)


def finals_of(outputs: Outputs) -> dict[str, finals.Final]:
    """Return role -> the final of its search, of the searches that had one."""
    found = {}
    for role in outputs.searched():
        metrics = SearchMetrics.load(outputs.metrics(f"search_{role}"))
        found[role] = finals.read(outputs.final(role), metrics.winner, metrics.measure)
    return {role: one for role, one in found.items() if one is not None}


def _curves(outputs: Outputs) -> dict[str, list[dict[str, str]]]:
    curves: dict[str, list[dict[str, str]]] = {}
    path = outputs.epochs("evaluate")
    for row in histories.read_rows(path):
        if "arm" not in row:
            raise InputError(f"{path}: has no column arm; dvc repro evaluate")
        curves.setdefault(row["arm"], []).append(row)
    return curves


def _mistakes(dataset: Dataset, logits: Floats) -> Figure | None:
    """Draw the mistakes of the first seed, which is exported."""
    images, labels = dataset.split("test")
    return plots.mistakes_figure(images, labels, logits[0], dataset.classes)


def _quality(path: Path) -> dict[str, object]:
    """Return prepare's findings about the data; the most important are `warnings`."""
    content = files.read_json(path)
    try:
        return {**content, "warnings": Quality(**content).warnings()}
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: written by another version of rolekd ({error}); dvc repro prepare"
        ) from error


def _inputs(outputs: Outputs, dataset: Dataset) -> dict[str, str]:
    hashes = {
        f"{role}'s schedule, SHA-256": files.sha256(outputs.schedule(role))
        for role in outputs.searched()
    }
    return {f"data {dataset.name}, digest": dataset.digest, **hashes}


def _exported(arm: str, compare: "CompareParams") -> str:
    """Say which student is exported, and why."""
    if compare.export != CONFIRMED:
        return f"the first seed of {arm}, as params.yaml says"
    return f"the first seed of {arm}, whose augmentation won the final of the student's search"


def _model(found: ExportedRecord) -> dict[str, str]:
    """Return the export stage's facts about its graph, in words."""
    return {
        "file": f"student.onnx, {found.bytes:,} bytes, SHA-256 {found.sha256}",
        "parameters": f"{found.parameters:,}, {found.bits_per_parameter:.2f} bits each",
        "work per image": f"{found.bit_operations:,} bit operations",
        "test accuracy": f"{100 * found.test_accuracy:.2f} %",
        "agreement with the integer evaluation in PyTorch": (
            f"{found.argmax_equal} of {found.images} test images, largest difference of a "
            f"logit {found.largest_logit_difference:g}"
        ),
    }
