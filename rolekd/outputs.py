"""The interface between stages: every path below `outputs/`, the shape of every JSON file.

Data sets, schedules and weights have formats of their own, in the packages that they belong to;
everything else that one stage writes and another reads is declared here.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from rolekd import files
from rolekd.errors import InputError
from rolekd.params import TEACHER_NAME, Params, Role, TeacherName


@dataclass(frozen=True)
class Outputs:
    """The paths below a folder of outputs, by default that of the project."""

    root: Path = Path("outputs")

    @property
    def data(self) -> Path:
        """The prepared data set."""
        return self.root / "data"

    @property
    def quality(self) -> Path:
        """Findings of prepare about the data."""
        return self.data / "quality.json"

    def pretrained(self, role: Role) -> Path:
        """The weights that a role's network starts from; without them it starts from fresh ones."""
        return self.root / "pretrained" / f"{role}.safetensors"

    def copy_pretrained(self, params: Params, roles: Iterable[Role], folder: Path) -> None:
        """Copy the weights that networks start from into another folder of outputs."""
        for role in roles:
            if getattr(params, role).weights is not None:
                target = Outputs(folder).pretrained(role)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.pretrained(role), target)

    def metrics(self, stage: str, variant: str | None = None) -> Path:
        """The few numbers of a stage, which DVC compares between runs."""
        return self.stage(stage, variant) / "metrics.json"

    def run(self, stage: str, variant: str | None = None) -> Path:
        """The MLflow run of a stage; it is not an output, which other stages would depend on."""
        return self.root / "runs" / f"{stage if variant is None else f'{stage}@{variant}'}.json"

    def stage(self, stage: str, variant: str | None = None) -> Path:
        """The folder of a stage, or of one of its variants: an arm, a teacher."""
        return self.root / stage if variant is None else self.root / stage / variant

    def wanted(self, stage: str, variant: str | None = None) -> Path:
        """Whether an arm needs a stage."""
        name = stage if variant is None else f"{stage}_{variant}"
        return self.stage("plan") / f"{name}.json"

    def schedule(self, role: Role) -> Path:
        """The schedule that was searched for a role."""
        return self.stage(f"search_{role}") / "schedule.json"

    def searched(self) -> list[Role]:
        """The roles whose schedules were searched, since an arm needs them."""
        return [role for role in get_args(Role) if self.was_searched(role)]

    def was_searched(self, role: Role) -> bool:
        """Return whether a role's schedule was searched, once its stage has run."""
        return _has_content(self.schedule(role))

    def lineage(self, role: Role) -> Path:
        """The winner of a search and its ancestors."""
        return self.stage(f"search_{role}") / "lineage.json"

    def history(self, role: Role) -> Path:
        """Every training of a search, as a table."""
        return self.stage(f"search_{role}") / "history.csv"

    def final(self, role: Role) -> Path:
        """Every training of a search's final, as a table."""
        return self.stage(f"search_{role}") / "final.csv"

    def population(self, role: Role) -> Path:
        """The figure of a search."""
        return self.stage(f"search_{role}") / "population.svg"

    def augmentation(self, arm: str) -> Path:
        """The augmentation of an arm."""
        return self.stage("augmentations") / f"{arm}.json"

    def teacher(self, name: TeacherName) -> Path:
        """The weights of a teacher."""
        return self.stage("train_teacher", name) / "weights.safetensors"

    def student(self, arm: str, seed: int) -> Path:
        """The weights of the student of an arm and a seed."""
        return self.students(arm) / f"seed-{seed}.safetensors"

    def students(self, arm: str) -> Path:
        """The folder of the weights of an arm's students."""
        return self.stage("distill", arm) / "weights"

    def epochs(self, stage: str, variant: str | None = None) -> Path:
        """The numbers of every epoch of a stage's trainings, as a table."""
        return self.stage(stage, variant) / "epochs.csv"

    @property
    def arms(self) -> Path:
        """The comparison of the arms."""
        return self.stage("evaluate") / "arms.json"

    @property
    def failures(self) -> Path:
        """The failures of the run."""
        return self.stage("evaluate") / "failures.json"

    @property
    def predictions(self) -> Path:
        """The logits of every student on the test images."""
        return self.stage("evaluate") / "predictions.npz"

    @property
    def graph(self) -> Path:
        """The exported student."""
        return self.stage("export") / "student.onnx"

    @property
    def verification(self) -> Path:
        """Facts about the exported graph."""
        return self.stage("export") / "verification.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.stage("report") / "index.html"

    @property
    def version(self) -> Path:
        """The version that was registered."""
        return self.stage("register") / "version.json"


class _File(BaseModel):
    """The content of a JSON file, checked when it is read."""

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        files.write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            InputError: It is missing, damaged, or of another version of rolekd.
        """
        content = files.read_json(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(
                f"{path}: {key}: {first['msg'].lower()}; another version of rolekd may have "
                "written it: run its stage again (dvc repro)"
            ) from error


class Record(_File):
    """A JSON object: immutable, with known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Wanted(Record):
    """plan: whether an arm needs a stage; if none does, its outputs are empty.

    `judges` holds the parameters of the students that judge a teacher's schedule, where they do: so
    the teacher's search depends on them then, and only then.
    """

    wanted: bool
    judges: dict[str, Any] | None = None


class RunId(Record):
    """Every stage: the MLflow run that made its outputs, empty where MLflow did not answer."""

    mlflow_run_id: str = ""


class Metrics(Record):
    """Base of metrics.json: the same bytes from a second run on the same machine."""

    def numbers(self) -> dict[str, float]:
        """Return name -> number as MLflow shows them: `test_accuracy.kd` of a mapping."""
        found: dict[str, float] = {}
        for key, value in self.model_dump().items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in parts:
                if isinstance(number, int | float):
                    found[f"{key}.{part}" if part else key] = float(number)
        return found


class PrepareMetrics(Metrics):
    """prepare: the number of images, and faults."""

    images_search_train: int
    images_search_val: int
    images_train: int
    images_test: int
    duplicates: int
    conflicting_duplicates: int
    left_out: int
    unreadable: int
    left_out_share: float
    enlarged: int
    imbalance: float
    small_classes: int
    classes: int
    data_digest: str


class SearchMetrics(Metrics):
    """search_teacher, search_student: the winner's accuracy on validation images, 0..1.

    Where a teacher is judged by its student, all is of that student.

    With a final, its winner's name and mean over the seeds; and of the best beside none, which may
    not have been good enough, the mean paired difference to none with its standard error, in what
    was measured: accuracy, 0..1, or log loss, nats.
    """

    val_accuracy: float
    winner: str | None = None
    best: str | None = None
    measure: str | None = None
    gain: float | None = None
    gain_error: float | None = None
    seeds: int | None = None


class TrainingMetrics(Metrics):
    """train_teacher, distill: loss and accuracy on the training images, mean over the seeds."""

    train_loss: float
    train_accuracy: float


class EvaluateMetrics(Metrics):
    """evaluate: accuracy on the test images, 0..1.

    Attributes:
        test_accuracy: arm -> mean over its students; "teacher" -> the one that the exported
            student learned from.
    """

    test_accuracy: dict[str, float]

    @property
    def teacher_accuracy(self) -> float:
        """Of the teacher that the exported student learned from, 0..1."""
        return self.test_accuracy[TEACHER_NAME]


class ExportFigures(Record):
    """What the export measured on the test images."""

    bytes: int
    images: int
    argmax_equal: int
    largest_logit_difference: float
    test_accuracy: float
    parameters: int
    bits_per_parameter: float
    bit_operations: int


class ExportMetrics(Metrics):
    """export: numbers to compare between runs; `test_accuracy` is of the file, under "exported"."""

    test_accuracy: dict[str, float]
    bytes: int


class ExportedRecord(ExportFigures):
    """export: facts about the graph, with the figures.

    Attributes:
        sha256: of the file.
        forms: path of a layer -> the form that it takes in the graph.
        inexact: paths of the layers that have no exact integer form.
    """

    sha256: str
    forms: dict[str, str]
    inexact: list[str]


class VersionRecord(Record):
    """register: the version in the MLflow registry."""

    name: str
    version: int
    uri: str


class ArmRow(Record):
    """An arm's line of the comparison; accuracies and differences are fractions, 0..1.

    Attributes:
        test_accuracy, test_accuracy_sd: mean and deviation over the seeds.
        test_accuracies: of each seed.
    """

    arm: str
    test_accuracy: float
    test_accuracy_sd: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    p_value_adjusted: float | None = None
    calibration_error: float
    seeds: int
    test_accuracies: list[float]


class Arms(Record):
    """evaluate: the comparison of the arms.

    Attributes:
        baseline: The arm that the others are compared to.
        exported: The arm whose first seed is exported.
        images: Test images.
        confidence: Of the intervals, 0..1.
        arms: In the order of params.yaml.
    """

    baseline: str
    exported: str
    images: int
    confidence: float
    arms: list[ArmRow]

    def arm(self, name: str) -> ArmRow:
        """Return the line of an arm; one that was not evaluated is an `InputError`."""
        for row in self.arms:
            if row.arm == name:
                return row
        raise InputError(f"evaluate: no arm {name!r} among its results; dvc repro evaluate")


class Failures(Record):
    """evaluate: failures of the run, a line each with the remedy; see `rolekd.report.failures`."""

    lines: list[str]


class LineageRow(Record):
    """One generation of a search's winner."""

    model_config = ConfigDict(frozen=True, extra="allow")

    generation: int
    member: int
    parent: int | None
    first_epoch: int
    epochs: int
    accuracy: float | None
    images_seen: int
    policy: list[int]


class Lineage(RootModel[list[LineageRow]], _File):
    """search_teacher, search_student: the winner's line, oldest first."""


def run_ids(outputs: Outputs) -> dict[str, str]:
    """Return stage -> id of the MLflow run that made its outputs, also where DVC restored them."""
    # a stage that no arm asked for left its file empty
    paths = sorted(outputs.run("*").parent.glob("*.json"))
    found = {path.stem: RunId.load(path).mlflow_run_id for path in paths if _has_content(path)}
    return {name: run for name, run in found.items() if run}


def _has_content(path: Path) -> bool:
    try:
        with files.open_regular(path) as file:
            return bool(file.read(2).strip())  # not files.NOTHING
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); run the stage that writes it first "
            "(dvc repro)"
        ) from error
