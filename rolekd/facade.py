"""The whole pipeline in ten lines of Python, in memory or in a folder: `import rolekd`.

    import rolekd

    params = rolekd.Params.preset("digits")
    data = rolekd.load_data("digits", params)
    found = rolekd.search_schedule("teacher", data, params)
    teacher = rolekd.train_teacher(data, params, found.schedule)
    own = rolekd.search_schedule("student", data, params, teacher=teacher)
    student = rolekd.train_student(data, params, teacher, own.schedule)
    student.evaluate(data)
    student.export("student.onnx", data)
    rolekd.predict("student.onnx", ["photo.png"])

Results equal those of the pipeline's stages with the same parameters, to the byte. (`search`,
`train` and `distill` are packages, so the functions are named after what they make.) Every step
shows its progress on standard error; its result displays itself in a notebook.
"""

import contextlib
import functools
import html
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rolekd import files
from rolekd.augment import ladder, named
from rolekd.augment.named import NamedAugmentation
from rolekd.augment.schedule import Schedule as Schedule
from rolekd.cli.progress import Bar, SearchProgress, TrainingProgress
from rolekd.data import dataset as datasets
from rolekd.data import fits
from rolekd.data.dataset import Dataset
from rolekd.distill.taps import Described
from rolekd.errors import InputError, did_you_mean
from rolekd.export.predict import Prediction, classify, expand
from rolekd.export.session import load as load_exported
from rolekd.outputs import ExportedRecord
from rolekd.params import ArmParams, DataParams, ExportParams, Role, Target
from rolekd.params import Params as Params  # a name of the package
from rolekd.report.finals import Final, final_rows, of_rows, sentence
from rolekd.report.tables import Calibration, calibration, confusion, per_class
from rolekd.search import history, member
from rolekd.search import runner as searching
from rolekd.search.history import Found as SearchFound
from rolekd.sources import SOURCES, arrays
from rolekd.sources.prepare import prepare
from rolekd.stages import checks, students
from rolekd.stages import export as exporting
from rolekd.stages import train_teacher as teaching
from rolekd.train import devices, pretrained, roles
from rolekd.train.augmentation import make_engine
from rolekd.train.evaluate import accuracy, predict_as_deployed
from rolekd.train.fit import fit
from rolekd.train.seats import seats
from rolekd.train.state import EpochRow, save_weights
from rolekd.train.training import Training

# what augments a training: a schedule, the name of a hand-made augmentation, or a ladder's rung
AugmentationLike = Schedule | str
_COLUMNS = 20  # of a table that is still looked at


@dataclass(frozen=True, repr=False)
class Data(Dataset):
    """A data set that displays itself."""

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{self.name}: {len(self.images)} images of {size}, {len(self.classes)} classes"

    def _repr_html_(self) -> str:
        counts = [
            {"split": name, "images": len(places), **self._counts(name)}
            for name, places in self.splits.items()
        ]
        return _html(repr(self), counts if len(self.classes) <= _COLUMNS else ())

    def _counts(self, split: str) -> dict[str, int]:
        labels = self.labels[self.splits[split]]
        found = np.bincount(labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, found, strict=True))


class Exported(ExportedRecord):
    """Measurements of an exported file; they display themselves."""

    def __repr__(self) -> str:
        return (
            f"{self.bytes:,} bytes, test accuracy {self.test_accuracy:.2%}, the class of the "
            f"integers on {self.argmax_equal} of {self.images} test images"
        )

    def _repr_html_(self) -> str:
        return _html(repr(self), ())


class Predictions(list[Prediction]):
    """Predictions that display themselves."""

    def _repr_html_(self) -> str:
        rows = [
            {
                "image": one.image,
                "class": one.label or "",
                "probability": "" if one.probability is None else f"{one.probability:.1%}",
                "error": one.error or "",
            }
            for one in self
        ]
        return _html(f"{len(self)} images", rows)


def load_data(
    source: "str | Path | tuple[ArrayLike, ArrayLike]",
    params: Params | None = None,
    *,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    classes: Sequence[str] | None = None,
) -> Data:
    """Return a data set that is split, measured and ready to train on.

    Args:
        source: The name of a source ("digits"), a folder of class folders, or images uint8
            [N, H, W] or [N, H, W, C] with labels [N], which are integers or names.
        params: Its section `data` has sizes and shares, its seed decides the splits; None: the
            defaults.
        test: Images and labels of a test set; None: a share of the others.
        classes: Names of the classes, where labels are integers; None: their numbers.

    Raises:
        InputError: The source or folder does not exist, or the arrays are not usable.
    """
    params = Params() if params is None else params
    _require(params, Params)
    if isinstance(source, tuple | list):
        return _shown(arrays.prepare(source, params.data, params.seed, test=test, classes=classes))
    if test is not None or classes is not None:
        raise InputError("load_data: test and classes are for arrays; leave them out")
    name = str(source)
    data = params.data
    if name in SOURCES:
        data = data.model_copy(update={"source": name})
    elif Path(name).is_dir():
        size = {} if data.image_size else {"image_size": 32}
        changes = {"source": "image-folder", "path": Path(name), **size}
        data = data.model_copy(update=changes)
    else:
        hint = did_you_mean(name, SOURCES, "name a folder that exists, or a source")
        raise InputError(f"load_data: {name!r} is neither a folder nor a source; {hint}")
    with Bar(f"images of {name}") as bar:
        data = DataParams.model_validate(data.model_dump())
        return _shown(prepare(data, params.seed, bar.show))


@dataclass(frozen=True)
class FoundSchedule:
    """The result of a search.

    Attributes:
        role: Whose schedule it is.
        search: Everything else; see `rolekd.search.history.Found`.
    """

    role: Role
    search: SearchFound

    @property
    def schedule(self) -> Schedule:
        """The schedule; one that does nothing if none was worth it."""
        return self.search.schedule

    @property
    def _final(self) -> Final | None:
        verdict = self.search.verdict
        if verdict is None:
            return None
        return of_rows(history.final(self.search), verdict.winner.name, verdict.best.measure)

    def __repr__(self) -> str:
        final = self._final
        return sentence(final, self.role) if final else f"a schedule for the {self.role}"

    def _repr_html_(self) -> str:
        final = self._final
        return _html(repr(self), final_rows(final) if final else ())


def search_schedule(
    role: Role,
    data: Dataset,
    params: Params,
    *,
    teacher: "Network | None" = None,
    teacher_schedule: Schedule | None = None,
    folder: "str | Path | None" = None,
) -> FoundSchedule:
    """Search the schedule of a role; it sees training images only.

    Args:
        role: "teacher", or "student", under distillation.
        data: See `load_data`.
        params: `search`, and what the role's training has.
        teacher: Of the students.
        teacher_schedule: A candidate of the student's final; None: the teacher's own, if it has
            one.
        folder: Where the search is kept, to continue after an interruption; None: nowhere.

    Raises:
        InputError: The role does not exist, or the teacher is missing or was trained on other
        images.
    """
    if role not in ("teacher", "student"):
        raise InputError(f"search_schedule: role {role!r}; choose teacher or student")
    _check(params, data)
    given, taught = {}, None
    with _place(folder) as state:
        inputs = state / f"inputs-{role}"
        shutil.rmtree(inputs, ignore_errors=True)
        datasets.save_splits(data, ("search_train", "search_val"), inputs / member.DATA)
        place = replace(data, folder=inputs / member.DATA)
        pretrained.lay_beside(params, params.trained_by_search(role), place)
        if role == "student":
            learned = _teacher_of(teacher, data, "search_schedule")
            learned.save(inputs / member.TEACHER_FILE)
            candidate = teacher_schedule or learned.schedule
            if candidate is not None:
                given[named.TEACHER_SCHEDULE] = candidate.to_json()
            if learned.augmentation is not None:
                taught = learned.augmentation.to_json()
        spec = member.make_spec(params, role, inputs, given, taught)
        places = seats(params.machine, spec.threads, spec.tasks, _gpus())
        with SearchProgress(f"search of the {role}'s schedule") as progress:
            found = searching.run(
                spec, inputs, state / spec.name, [progress], seats=places, fresh=True
            )
    return FoundSchedule(role, found)


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        module: In evaluation mode; takes normalised images [N, C, H, W].
        about: The description from which it can be rebuilt.
        history: A row for each epoch.
        augmentation: Of the images that it was trained on; None: not known.
    """

    module: nn.Module
    about: Mapping[str, Any]
    history: Sequence[EpochRow]
    augmentation: NamedAugmentation | None = None

    @property
    def schedule(self) -> Schedule | None:
        """That augmented it; None: a hand-made augmentation, or none."""
        return None if self.augmentation is None else self.augmentation.schedule

    @property
    def role(self) -> str:
        """Teacher or student."""
        return str(self.about["role"])

    def evaluate(self, data: Dataset, split: str = "test") -> "Evaluated":
        """Return how good it is on the images of a split, without augmentation.

        A low-bit student is evaluated in integers, exactly as its exported graph is.
        """
        _require_shape(self.about, data, "evaluate")
        if split not in data.splits:
            raise InputError(f"evaluate: split {split!r}; {did_you_mean(split, data.splits)}")
        images, labels = data.split(split)
        logits = predict_as_deployed(self.module, images, data)
        return Evaluated(
            split,
            accuracy(logits, labels),
            calibration(logits, labels),
            confusion(logits.argmax(1), labels, len(data.classes)),
            data.classes,
        )

    def save(self, path: "str | Path") -> None:
        """Write weights and description, as the pipeline does."""
        save_weights(Path(path), self.module, self.about)

    def export(self, path: "str | Path", data: Dataset, *, target: Target = "cpu") -> Exported:
        """Write a student as an integer ONNX graph, verified on every test image.

        Returns:
            What was measured: bytes, accuracy, on how many images it equals the integers.

        Raises:
            InputError: It is not a student.
        """
        if self.role != "student":
            raise InputError("export: a teacher does not have an integer form; export the student")
        _require_shape(self.about, data, "export")
        with _place(None) as folder:
            self.save(folder / "weights.safetensors")
            about = exporting.describe(folder / "weights.safetensors", data, self.about)
        made = exporting.export_network(
            self.module.cpu().eval(), data, Path(path), ExportParams(target=target), about
        )
        return Exported(**made.model_dump())

    def __repr__(self) -> str:
        width = f" of width {self.about['width']}"
        bits = f", {self.about['weight_bits']} bits" if "weight_bits" in self.about else ""
        trained = ", taken as it is"
        if self.history:
            reached = self.history[-1]["accuracy"]
            trained = f", {len(self.history)} epochs, training accuracy {reached:.2%}"
        return f"{self.role}: {self.about['model']}{width}{bits}{trained}"

    def _repr_html_(self) -> str:
        return _html(repr(self), ())


@dataclass(frozen=True)
class Evaluated:
    """What a network does on a split.

    Attributes:
        split: Its name.
        accuracy: 0..1.
        calibration: Of its confidence.
        confusion: [classes, classes], row: true class, column: predicted.
        classes: Names.
    """

    split: str
    accuracy: float
    calibration: Calibration
    confusion: NDArray[np.integer[Any]]
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"{self.split} accuracy {self.accuracy:.2%} on {int(self.confusion.sum())} images, "
            f"calibration error {self.calibration.error:.1%}"
        )

    def _repr_html_(self) -> str:
        figures = per_class(self.confusion)
        rows = [
            {"class": name, **{key: f"{values[place]:.1%}" for key, values in figures.items()}}
            for place, name in enumerate(self.classes)
        ]
        return _html(repr(self), rows)


def train_teacher(
    data: Dataset,
    params: Params,
    augmentation: AugmentationLike = named.NONE,
    *,
    folder: "str | Path | None" = None,
) -> Network:
    """Train the teacher on the whole training set, or take it as it is (`teacher.train: false`).

    Args:
        data: See `load_data`.
        params: `teacher` and `augment`.
        augmentation: A schedule, or the name of a hand-made augmentation.
        folder: Where the training is kept, for it to continue after an interruption; None: nowhere.
    """
    _check(params, data)
    device = devices.set_up(params.machine.device, params.threads)
    chosen = _augmentation(augmentation)
    with _weights_beside(params, ["teacher"], data) as data:
        if not params.teacher.train:
            network, about = roles.teacher(params.teacher, data, seed=0)
            return Network(network.eval(), about, [])
        training, about = teaching.make_training(params, data, chosen, device)
    facts = ["teacher", params.model_dump(mode="json", include={"seed", "augment", "teacher"})]
    return _fit(training, about, chosen, "teacher", folder, [*facts, data.digest])


def train_student(
    data: Dataset,
    params: Params,
    teacher: Network | None,
    augmentation: AugmentationLike = named.NONE,
    *,
    seed: int = 0,
    folder: "str | Path | None" = None,
) -> Network:
    """Train a student: distilled from a teacher, or, without one, alone and from scratch.

    Args:
        data: See `load_data`.
        params: `student`, `distill` and `augment`.
        teacher: That it learns from and starts with; None: it is trained from scratch on labels.
        augmentation: A schedule, or the name of a hand-made augmentation.
        seed: Number of the student, as in the pipeline's arms.
        folder: See `train_teacher`.

    Raises:
        InputError: The teacher is of other images or classes.
    """
    _check(params, data)
    device = devices.set_up(params.machine.device, params.threads)
    chosen = _augmentation(augmentation)
    arm = ArmParams(
        distilled=teacher is not None,
        augmentation=named.NONE,
        teacher="searched",
        starts_from="scratch" if teacher is None else "teacher",
    )
    described: Described = (nn.Identity(), {})
    if teacher is not None:
        learned = _teacher_of(teacher, data, "train_student")
        described = (learned.module.to(device), dict(learned.about))
    engine = make_engine(params.augment, data, params.threads)
    with _weights_beside(params, ["student"], data) as data:
        common = students.Common(params, arm, data, device, described, engine, chosen)
        training, about = common.begin(seed)
    sections = {"seed", "augment", "student", "distill"}
    facts = ["student", params.model_dump(mode="json", include=sections), data.digest, seed]
    if teacher is not None:
        facts.append(_digest(teacher.module))
    return _fit(training, about, chosen, f"student, seed {seed}", folder, facts)


def _fit(
    training: Training,
    about: Mapping[str, Any],
    augmentation: NamedAugmentation,
    name: str,
    folder: "str | Path | None",
    facts: list[Any],
) -> Network:
    facts.append(list(augmentation.to_json().values()))
    state = None
    if folder is not None:  # a training of anything else has a state of its own
        state = Path(folder) / f"{name.split(',')[0]}-{files.digest(facts)[:16]}.safetensors"
    with TrainingProgress() as progress:
        history = fit(training, state, [progress.begin(name, training.params.epochs)])
    return Network(training.network.eval(), dict(about), history, augmentation)


def predict(
    model: "str | Path", images: "Sequence[str | Path] | str | Path", *, resize: bool = True
) -> Predictions:
    """Classify image files by an exported network; files in, class names out.

    Args:
        model: The ONNX file.
        images: Files, or folders of images.
        resize: Bring other sizes to the network's, as in training.
    """
    paths = [images] if isinstance(images, str | Path) else list(images)
    if others := [one for one in paths if not isinstance(one, str | Path)]:
        raise InputError(
            f"predict: images are files or folders, not {type(others[0]).__name__}; of arrays "
            "evaluate says how good a network is"
        )
    network = load_exported(Path(model))
    return Predictions(classify(network, expand(map(str, paths)), resize=resize))


def study(file: "str | Path", *, records: "str | Path" = "results/records") -> str:
    """Run a study, or continue it, and return its tables as Markdown; see docs/study.md."""
    from rolekd.cli.progress import StudyProgress
    from rolekd.evidence import pages, running
    from rolekd.evidence.records import Records
    from rolekd.params import MachineParams

    kept = Records.open(Path(file), Path(records))
    running.run(kept, MachineParams(), StudyProgress(), fresh=True)
    return pages.write(kept)[-1].read_text(encoding="utf-8")


def _augmentation(given: AugmentationLike) -> NamedAugmentation:
    if isinstance(given, Schedule):
        return NamedAugmentation("schedule", given)
    if ladder.is_rung(given):
        return NamedAugmentation(given, Schedule.constant(ladder.policy(given), 1))
    if given not in named.HANDMADE:
        hint = did_you_mean(str(given), named.HANDMADE)
        raise InputError(f"augmentation {given!r}: {hint}; or give a Schedule")
    return NamedAugmentation(given)


def _require(given: object, wanted: type) -> None:
    """Refuse arguments that are not parameters, or not a data set."""
    if not isinstance(given, wanted):
        maker = "Params.preset" if wanted is Params else "load_data"
        raise InputError(
            f"a {type(given).__name__} is not a {wanted.__name__}; rolekd.{maker} makes one"
        )


def _shown(data: Dataset) -> Data:
    return Data(**vars(data))


def _check(params: Params, data: Dataset) -> None:
    _require(params, Params)
    _require(data, Dataset)
    checks.check(params, shape=data.shape)
    fits.check(params, data.image_size, data.sizes)


def _teacher_of(teacher: Network | None, data: Dataset, what: str) -> Network:
    if teacher is None:
        raise InputError(
            f"{what}: a student needs its teacher; give teacher=rolekd.train_teacher(...)"
        )
    if teacher.role != "teacher":
        raise InputError(f"{what}: what is given as the teacher is a {teacher.role}")
    _require_shape(teacher.about, data, what)
    return replace(teacher, module=teacher.module.eval())


def _require_shape(about: Mapping[str, Any], data: Dataset, what: str) -> None:
    _require(data, Dataset)
    for key, value in roles.shape_of(data).items():
        if about.get(key) != value:
            raise InputError(
                f"{what}: the network was trained for {key} {about.get(key)}, the data has {value}"
            )


def _digest(network: nn.Module) -> str:
    """Return the digest of a network's weights."""
    values = {
        name: files.digest(tensor.detach().cpu().to(torch.float64).flatten().tolist())
        for name, tensor in network.state_dict().items()
    }
    return files.digest(values)


@functools.cache
def _gpus() -> list[str]:
    """Return this machine's GPUs: queried once, since a search assigns one to this process."""
    return devices.gpus()


@contextlib.contextmanager
def _weights_beside(params: Params, of: Sequence[Role], data: Dataset) -> Iterator[Dataset]:
    """Yield the data set, with weights beside it from which networks start, if any."""
    if all(getattr(params, role).weights is None for role in of):
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="rolekd-") as name:
        data = replace(data, folder=Path(name, member.DATA))
        pretrained.lay_beside(params, of, data)
        yield data


@contextlib.contextmanager
def _place(folder: "str | Path | None") -> Iterator[Path]:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="rolekd-") as name:
        yield Path(name)


def _html(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Return a line and a table as HTML."""
    parts = [f"<p>{html.escape(title)}</p>"]
    if rows:
        heads = "".join(f"<th>{html.escape(head)}</th>" for head in rows[0])
        lines = [
            "<tr>"
            + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row.values())
            + "</tr>"
            for row in rows
        ]
        parts.append(f"<table><tr>{heads}</tr>{''.join(lines)}</table>")
    return "".join(parts)
