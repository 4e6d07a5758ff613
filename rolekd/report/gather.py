"""From the stages' outputs to the content of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from rolekd import files
from rolekd.augment import schedule as schedules
from rolekd.augment.engine import Engine
from rolekd.augment.handmade import RandAugment, TrivialAugment
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.data.prepare import QUALITY
from rolekd.data.quality import Quality
from rolekd.errors import InputError
from rolekd.report import genealogy, histories, plots
from rolekd.report.costs import Cost
from rolekd.report.datafiles import load_predictions
from rolekd.report.page import Content
from rolekd.report.sheets import policy_sheet
from rolekd.report.tables import BASELINE, Floats, summarise

if TYPE_CHECKING:
    from rolekd.params import Params

ROLES = ("teacher", "student")
_SHEET_IMAGES = 10


def gather(
    outputs: Path,
    params: "Params",
    provenance: Mapping[str, Mapping[str, object]],
    costs: Sequence[Cost] = (),
) -> Content:
    """Read what the stages before the report have written below `outputs`.

    Args:
        outputs: folder of the stages' outputs, as dvc.yaml names them.
        params: of the run.
        provenance: heading -> facts about code and machine, for the end of the page.
        costs: of the teacher, the exported student, and others to set beside them.

    Raises:
        InputError: an output is missing or damaged.
    """
    dataset = datasets.load(outputs / "data")
    logits, labels = load_predictions(outputs / "evaluate" / "predictions.npz")
    found = {role: schedules.load(outputs / f"search_{role}" / "schedule.json") for role in ROLES}
    return Content(
        dataset=dataset.name,
        evaluation=summarise(logits, labels, dataset.classes),
        schedules=found,
        searches={
            role: histories.read_search(outputs / f"search_{role}" / "history.csv")
            for role in ROLES
        },
        genealogies={
            role: genealogy.read(outputs / f"search_{role}" / "lineage.json") for role in ROLES
        },
        quality=_quality(outputs / "data" / QUALITY),
        costs=costs,
        curves=_curves(outputs, list(logits)),
        sheet=sample_sheet(dataset, found, params),
        mistakes=_mistakes(dataset, logits),
        model=_model(outputs / "export" / "verification.json"),
        provenance={
            "Inputs": _inputs(outputs, dataset),
            "MLflow runs": _runs(outputs),
            **provenance,
        },
        params=params.model_dump(mode="json"),
    )


def sample_sheet(dataset: Dataset, found: Mapping[str, Schedule], params: "Params") -> Figure:
    """Draw training images of as many classes as fit under what the arms do to them.

    Of a schedule, the policy of its last epoch is shown.
    """
    images, labels = dataset.split("train")
    _, first = np.unique(labels, return_index=True)
    shown = {
        "base only": None,
        "RandAugment": RandAugment(),
        "TrivialAugment": TrivialAugment(),
        **{f"{role}'s, last": one.policy_at(one.epochs - 1) for role, one in found.items()},
    }
    engine = Engine(dataset.fill, **params.augment.model_dump())
    return policy_sheet(images[first[:_SHEET_IMAGES]], shown, engine, params.seed)


def _curves(outputs: Path, arms: list[str]) -> dict[str, list[dict[str, str]]]:
    paths = {"teacher": outputs / "train_teacher" / "epochs.csv"}
    paths |= {arm: outputs / "distill" / arm / "epochs.csv" for arm in arms}
    return {name: histories.read_rows(path) for name, path in paths.items()}


def _mistakes(dataset: Dataset, logits: Mapping[str, Floats]) -> Figure | None:
    """Draw the mistakes of the first seed, which is the one that is exported."""
    images, labels = dataset.split("test")
    return plots.mistakes_figure(images, labels, logits[BASELINE][0], dataset.classes)


def _quality(path: Path) -> dict[str, object]:
    """Return what prepare found out about the data; what a user should look at is `warnings`."""
    content = files.read_json(path)
    try:
        return {**content, "warnings": Quality(**content).warnings()}
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: written by another version of rolekd ({error}); dvc repro prepare"
        ) from error


def _inputs(outputs: Path, dataset: Dataset) -> dict[str, str]:
    hashes = {
        f"{role}'s schedule, SHA-256": files.sha256(outputs / f"search_{role}" / "schedule.json")
        for role in ROLES
    }
    return {f"data {dataset.name}, digest": dataset.digest, **hashes}


def _runs(outputs: Path) -> dict[str, str]:
    """Return stage -> id of the MLflow run that made its outputs, also where DVC restored them."""
    paths = [*sorted(outputs.glob("*/metrics.json")), *sorted(outputs.glob("*/*/metrics.json"))]
    # these come after the page: what lies there is of the run before
    paths = [path for path in paths if path.parent.name not in ("report", "register")]
    found = {"@".join(p.parent.relative_to(outputs).parts): files.read_json(p) for p in paths}
    return {stage: str(metrics.get("mlflow_run_id")) for stage, metrics in found.items()}


def _model(path: Path) -> dict[str, str]:
    """Return what the export stage found out about its graph, in words."""
    found = files.read_json(path)
    return {
        "file": f"student.onnx, {found['bytes']:,} bytes, SHA-256 {found['sha256']}",
        "parameters": f"{found['parameters']:,}, {found['bits_per_parameter']:.2f} bits each",
        "work per image": f"{found['bit_operations']:,} bit operations",
        "test accuracy": f"{100 * found['accuracy']:.2f} %",
        "agreement with the integer evaluation in PyTorch": (
            f"{found['argmax_equal']} of {found['images']} test images, largest difference of a "
            f"logit {found['largest_logit_difference']:g}"
        ),
    }
