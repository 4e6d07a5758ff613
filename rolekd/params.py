"""The parameters of a run: typed, frozen, unknown keys refused.

`params.yaml` is this schema with its defaults; `rolekd params --schema` prints it. Types are
strict (true is not 1, "3" is not 3) and every number has both bounds, beyond useful values but
narrow enough that a value within them does not end a run by its size alone.
"""

import itertools
import re
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from rolekd import yamlfiles
from rolekd.errors import InputError, brief, did_you_mean, few

T = TypeVar("T")

CONFIRMED = "confirmed"  # as compare.export: the arm that the student's final prefers
TEACHER_NAME = "teacher"  # in tables and metrics of arms
_ARM_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


def _channels(value: object) -> object:
    """Refuse what equals 1 or 3 but is not an integer: a literal would accept it."""
    if value is not None and type(value) is not int:
        raise ValueError("input should be 1 or 3")
    return value


def _ends(value: object) -> object:
    """Refuse what equals 8 but is not an integer: a literal would accept it."""
    if value != "float" and type(value) is not int:
        raise ValueError("input should be 'float' or 8")
    return value


def _tuple(value: object) -> object:
    """Return a list as a tuple; a set, which does not have an order, stays as it is."""
    return tuple(value) if isinstance(value, list) else value


def _arm_name(name: object) -> object:
    """Refuse what cannot be a folder below outputs/distill and a stage in dvc.yaml."""
    if not isinstance(name, str) or re.fullmatch(_ARM_NAME, name) is None:
        raise ValueError(
            "not a name of an arm; begin with a letter or digit, then up to 63 letters, digits, "
            "- and _"
        )
    if name == TEACHER_NAME:
        raise ValueError("this is the name of the teacher in tables of arms; choose another")
    if name == CONFIRMED:
        raise ValueError("compare.export means the arm that was confirmed; choose another")
    return name


def _arms(arms: object) -> object:
    """Refuse a comparison without arms."""
    if arms == {}:
        raise ValueError("no arms; name at least one, as docs/compare.md shows")
    return arms


Role = Literal["teacher", "student"]
TeacherName = Literal["searched", "plain", "randaugment", "adaptive"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
# of a split: nearer to 0 or 1 one of its parts is empty in any data set of ordinary size
SplitFraction = Annotated[float, Field(ge=0.001, le=0.999)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Side = Annotated[int, Field(ge=1, le=2048)]  # pixels
Padding = Annotated[int, Field(ge=0, le=2048)]  # pixels
Width = Annotated[int, Field(ge=1, le=256)]  # channels of the first stage
Threads = Annotated[int, Field(ge=1, le=1024)]
Processes = Annotated[int, Field(ge=1, le=256)]
ImageCount = Annotated[int, Field(ge=1, le=65_536)]
Points = Annotated[float, Field(ge=0.0, le=100.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Bits = Annotated[int, Field(ge=1, le=8)]
Ends = Annotated[Literal["float", 8], BeforeValidator(_ends)]
Channels = Annotated[Literal[1, 3], BeforeValidator(_channels)]
# YAML and JSON have lists
Listed = Annotated[T, BeforeValidator(_tuple)]
ArmName = Annotated[str, BeforeValidator(_arm_name), Field(pattern=f"^{_ARM_NAME}$")]

# a key of an older params.yaml -> its successor
REPLACED = {
    "device": "machine.device",
    "search.workers": "machine.workers",
    "distill.seeds": "compare.seeds",
    "distill.method": "distill.loss",
    "distill.terms": "distill.loss",
    "distill.gradient_rule": "part of the losses kdsvd and mhgd",
    "distill.scale": "distill.weight",
    "distill.scale_decay": "distill.decay_factor",
    "teacher.training.schedule": "teacher.training.lr_schedule",
    "student.training.schedule": "student.training.lr_schedule",
}


class Section(BaseModel):
    """Base of all sections: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TableParams(Section):
    """The table of the source csv."""

    file: str = Field("labels.csv", min_length=1, description="below data.path")
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description='one character; "\\t": a tab'
    )
    path: str = Field("path", min_length=1, description="column of the images' paths")
    label: str = Field("label", min_length=1, description="column of the classes")
    split: str = Field("split", min_length=1, description="column of the splits, optional")
    root: Path | None = Field(
        None,
        strict=False,
        description="folder that relative paths start from; null: data.path, which DVC watches",
    )


class IdxParams(Section):
    """The files of the source idx, if their folder leaves a choice."""

    prefix: str | None = Field(
        None, description="of the files, if there are several sets: emnist-letters-"
    )
    classes: str | None = Field(
        None, description="file of class names below data.path, a line each; null: the numbers"
    )


class DataParams(Section):
    """Where the images come from and how they are split."""

    source: str = Field("digits", description="a name in docs/own-data.md")
    path: Path = Field(
        Path("data/raw/digits"), strict=False, description="folder of the raw data; DVC watches it"
    )
    image_size: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="side in pixels; null: the source's own; image files need one"
    )
    channels: Channels | None = Field(None, description="of image files: 1 gray, 3 RGB; null: RGB")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="for an unreadable image: stop, or leave it out and report it"
    )
    balance: Literal["none", "sampling"] = Field(
        "none", description="sampling: an epoch shows each class equally often"
    )
    training_images: Annotated[int, Field(ge=10, le=100_000_000)] | None = Field(
        None,
        description="most training images, drawn with the seed in proportion to the classes; "
        "null: all. Sources without a test split test on the others, too",
    )
    validation: Literal["search", "test"] = Field(
        "search",
        description="what validation images of your own are: search, on which it measures "
        "accuracy; test, where there is no other test split. They are never trained on",
    )
    table: TableParams = Field(TableParams(), description="of the source csv")
    idx: IdxParams = Field(IdxParams(), description="of the source idx")
    test_fraction: SplitFraction = Field(0.2, description="for sources without a test split")
    search_validation_fraction: SplitFraction = Field(
        0.3, description="share of the training images on which the search measures accuracy"
    )

    @property
    def name(self) -> str:
        """Name of data, experiments and registered models; for a folder of images its name."""
        return self.path.name if self.source in ("image-folder", "csv", "idx") else self.source


class BaseAugmentParams(Section):
    """Applied after every policy: pad and crop, flip, Cutout. In pixels."""

    crop_padding: Padding = Field(0, description="smaller than the image")
    horizontal_flip: bool = Field(
        False, description="if a mirrored image belongs to the same class"
    )
    cutout: Padding = Field(0, description="side of the square, at most the image's; 0: none")


class ModelParams(Section):
    """A network by name, and by width if it has one."""

    name: str = Field("resnet8", description="rolekd models lists the others")
    width: Width | None = Field(
        None,
        description="channels of the first stage, which later stages multiply; null: 16, or none "
        "where a network has none, as torchvision's",
    )


class TrainingParams(Section):
    """One training, from the first epoch to the last."""

    epochs: Epochs = Field(40, description="passes over the images to train on")
    # BatchNorm does not have statistics for one image
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = Field(
        32,
        description="images of an optimiser step, of all processes; at most those to train on",
    )
    accumulate: ImageCount = Field(
        1,
        description="parts in which a batch is computed, to save memory; each has its own "
        "BatchNorm",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adam", description="sgd has Nesterov momentum 0.9"
    )
    learning_rate: Annotated[float, Field(ge=1e-9, le=100.0)] = Field(
        1e-2, description="the highest"
    )
    lr_schedule: Literal["step", "cosine", "one-cycle"] = Field(
        "one-cycle", description="of the learning rate; docs/train.md"
    )
    warmup_epochs: Annotated[float, Field(ge=0.0, le=10_000.0)] = Field(
        0.0, description="of linear rise before step and cosine; one-cycle has its own"
    )
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        1e-5, description="of weights; not of biases and BatchNorm"
    )
    decay_at: Listed[tuple[OpenFraction, ...]] = Field(
        (0.5, 0.75, 0.9),
        max_length=100,
        description="fractions of the epochs after which distill.weight and, with step, the rate "
        "decay",
    )
    decay_factor: Annotated[float, Field(ge=1e-6, lt=1.0)] = Field(
        0.1, description="of the rate at decay_at, with step"
    )
    clip_norm: Weight = Field(0.0, description="gradient norm is clipped to this; 0: no clipping")
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="of a moving average of the weights, which is used and saved; 0: none"
    )
    float_epochs: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="of a student: first epochs in float, before quantisation starts"
    )
    reestimate_batchnorm: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        0,
        description="training images over which the statistics of BatchNorm are computed anew "
        "after the last epoch; 0: they stay the training's",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of networks in training, not of weights; auto: bfloat16 on a GPU, float32 on "
        "a CPU",
    )
    compile: bool = Field(False, description="torch.compile: needs a C++ compiler, or a GPU")

    @model_validator(mode="after")
    def _options_fit(self) -> "TrainingParams":
        if self.lr_schedule == "one-cycle" and self.warmup_epochs:
            raise ValueError("warmup_epochs: one-cycle has its own warm-up; set it to 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} leaves none of the {self.epochs} epochs; "
                "make it less"
            )
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} leaves parts of one image of batch_size "
                f"{self.batch_size}; BatchNorm needs two: make it at most {self.batch_size // 2}"
            )
        if self.float_epochs >= self.epochs:
            raise ValueError(
                f"float_epochs {self.float_epochs} leaves none of the {self.epochs} epochs "
                f"quantised; make it at most {self.epochs - 1}"
            )
        if 0 < self.reestimate_batchnorm < self.batch_size:
            raise ValueError(
                f"reestimate_batchnorm {self.reestimate_batchnorm} is less than a batch of "
                f"{self.batch_size} images; make it at least {self.batch_size}, or 0"
            )
        return self


class TeacherParams(Section):
    """The full-precision network that teaches."""

    model: ModelParams = ModelParams(width=16)
    weights: str | None = Field(
        None,
        description="that it starts from: weights/FILE.safetensors, or torchvision:NAME from "
        "torch's cache; null: fresh ones",
    )
    train: bool = Field(
        True,
        description="false: weights are a trained teacher's, used as they are, without a search",
    )
    training: TrainingParams = TrainingParams()

    @model_validator(mode="after")
    def _trains_in_float(self) -> "TeacherParams":
        if self.training.float_epochs:
            raise ValueError(
                "training.float_epochs: all epochs of a teacher are in float; set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _taken_has_weights(self) -> "TeacherParams":
        if not self.train and self.weights is None:
            raise ValueError("train: false, but weights names none; name them, or set it to true")
        return self


class StudentParams(Section):
    """The low-bit network that learns from the teacher."""

    model: ModelParams = ModelParams(name="resnet8", width=8)
    weights: str | None = Field(
        None,
        description="as for the teacher; every student starts from them, whatever arms say",
    )
    quantizer: Literal["dorefa", "lsq"] = Field("lsq", description="lsq: learned step sizes")
    bits: Bits = Field(
        2, description="of weights, and of activations unless activation_bits is given"
    )
    activation_bits: Bits | None = Field(None, description="null: the same as bits")
    residual: Literal["quantized", "float"] = Field(
        "quantized", description="the values that residual additions use, after or before rounding"
    )
    overrides: dict[str, Bits | Literal["float"]] = Field(
        {},
        description="path of a convolution or hidden linear layer, or pattern of paths -> bits of "
        "its weights and input, or float",
    )
    ends: Ends = Field(
        "float",
        description="first convolution and last linear layer: float, or 8 bits for weights and "
        "inputs",
    )
    damping: Weight = Field(
        0.0,
        description="weight, late in a training, of a loss that draws weights to the centres of "
        "their levels; 0: none",
    )
    training: TrainingParams = TrainingParams(epochs=60, learning_rate=2e-2)


class TapsParams(Section):
    """Features by module path; the student's are compared with the teacher's in this order."""

    teacher: Listed[tuple[str, ...]] = Field(
        min_length=1, max_length=100, description="paths; rolekd params --taps lists them"
    )
    student: Listed[tuple[str, ...]] = Field(
        min_length=1, max_length=100, description="as many paths as the teacher's"
    )


LossWeights = dict[str, Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]]


def _check_weights(loss: object) -> object:
    """Check weights here: a union would report a fault for each of its types."""
    if isinstance(loss, str):
        return loss
    if not isinstance(loss, Mapping):
        raise ValueError("give the name of a loss, or weights by name, as {soft: 1.0, rkd: 0.1}")
    try:
        return TypeAdapter(LossWeights).validate_python(loss)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"the weight of {fault['loc'][0]}: {fault['msg'].lower()}") from error


class DistillParams(Section):
    """The losses that the distillation adds to the cross-entropy."""

    loss: Annotated[str | LossWeights, BeforeValidator(_check_weights)] = Field(
        "soft",
        description="a name in docs/distill.md, or names -> weights",
    )
    taps: TapsParams | None = Field(
        None, description="features to compare; null: the networks' defaults"
    )
    quantize_teacher: bool = Field(
        False,
        description="the teacher's features pass through the student's quantisers before a loss",
    )
    temperature: Annotated[float, Field(ge=0.01, le=1000.0)] = Field(
        4.0, description="of soft labels, which divides logits"
    )
    prepare_epochs: Epochs = Field(
        2, description="epochs in which mhgd's heads and ft's paraphraser learn from the teacher"
    )
    first_phase_fraction: OpenFraction = Field(
        0.25, description="share of the epochs in which fitnet, fsp or ab prepare the student"
    )
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        0.4, description="of all these losses together; the cross-entropy has weight 1"
    )
    decay_factor: Annotated[float, Field(ge=1e-6, le=1.0)] = Field(
        0.6, description="of the weight at training.decay_at of the student"
    )


Rung = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=1, le=1000)]],
    BeforeValidator(_tuple),
]


class ConfirmParams(Section):
    """The final of a search: whole trainings of candidates on newly drawn splits, seed by seed."""

    rungs: Listed[tuple[Rung, ...]] = Field(
        ((5, 1), (3, 3), (2, 6)),
        min_length=1,
        max_length=100,
        description="[candidates, seeds]: after this rung that many of the best candidates, always "
        "including none, have that many seeds each",
    )
    validation_fraction: SplitFraction = Field(
        0.3, description="of the images of the search, in each newly drawn split"
    )
    measure: Literal["accuracy", "log_loss"] = Field(
        "log_loss",
        description="what is compared; log_loss, at the best temperature of each network, says "
        "more with few validation images",
    )
    teacher: Literal["given", "anew"] = Field(
        "given",
        description="who teaches the students of the final: the trained teacher, which has "
        "learned the images that the final measures on, or a new one for each split, which costs "
        "one teacher training for each seed",
    )
    standard_errors: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        1.0,
        description="a candidate replaces none if its mean paired difference exceeds this many of "
        "its standard errors",
    )
    decided: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        2.0,
        description="the final ends after a rung whose best has four seeds or more and is above "
        "none by more than so many standard errors, so only finals whose last rung but one has "
        "four seeds end early; null: all rungs are trained",
    )

    @property
    def candidates(self) -> int:
        """The largest number of candidates."""
        return self.rungs[0][0]

    @property
    def seeds(self) -> int:
        """The largest number of seeds of a candidate."""
        return self.rungs[-1][1]

    @property
    def trainings(self) -> int:
        """The largest number of trainings."""
        before = (0, *(seeds for _, seeds in self.rungs))
        return sum(
            count * (seeds - done) for (count, seeds), done in zip(self.rungs, before, strict=False)
        )

    @model_validator(mode="after")
    def _decided_is_more(self) -> "ConfirmParams":
        if self.decided is not None and self.decided < self.standard_errors:
            raise ValueError(
                f"decided {self.decided:g} is less than standard_errors {self.standard_errors:g}, "
                "so a final could end before it can be won; make it more, or null"
            )
        return self

    @model_validator(mode="after")
    def _rungs_narrow(self) -> "ConfirmParams":
        for count, seeds in self.rungs:
            if count < 2:
                raise ValueError(
                    f"rungs: [{count}, {seeds}] has one candidate, which is none; a final needs "
                    "another to compare it with, so make it [2, ...] or more"
                )
        for (count, seeds), (fewer, more) in itertools.pairwise(self.rungs):
            if fewer > count or more <= seeds:
                raise ValueError(
                    f"rungs: [{fewer}, {more}] after [{count}, {seeds}]; give each rung more seeds "
                    "than the one before, and no more candidates"
                )
        if self.rungs[-1][1] < 2:
            raise ValueError(
                "rungs: the last has one seed, which says nothing about the spread; give it two or "
                "more"
            )
        return self


class SearchParams(Section):
    """The search of a schedule over the 60-integer policies.

    An algorithm proposes: `pbt` learns schedules; tpe, random and cmaes compare constant policies
    on the same budget; ladder does not train. Then a final confirms.
    """

    algorithm: Literal["pbt", "tpe", "random", "cmaes", "ladder"] = Field(
        "pbt", description="what proposes candidates; ladder: only the rungs named below"
    )
    pruner: Literal["none", "median", "hyperband"] = Field(
        "hyperband", description="stops constant policies early; does not affect pbt"
    )
    population: Annotated[int, Field(ge=2, le=1000)] = Field(
        4, description="members; constant policies get the same budget"
    )
    epochs: Epochs = Field(20, description="of a member's whole training")
    interval_epochs: Epochs = Field(2, description="epochs of a generation")
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        0.25, description="share of members that copy, and of members that are copied"
    )
    resample_probability: Fraction = Field(
        0.2, description="of each integer, when a copied policy is explored"
    )
    max_step: Annotated[int, Field(ge=1, le=10)] = Field(
        3, description="largest move of an integer that is not resampled"
    )
    restarts: Annotated[int, Field(ge=0, le=10)] = Field(
        0,
        description="times that pbt starts again with fresh weights, its current policies and "
        "an interval twice as long; each costs as much as the first round",
    )
    threads_per_worker: Threads = Field(1, description="of each training of the search")
    start: Literal["none", "ladder"] = Field(
        "none", description="policies of pbt's first members: none, or rungs of the ladder"
    )
    proposals: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="number of the algorithm's best schedules that become candidates"
    )
    ladder: Listed[tuple[str, ...]] = Field(
        ("geometry-3", "all-3"),
        max_length=100,
        description="further candidates: geometry-S, colour-S or all-S with a strength S of 1 to "
        "10; docs/search.md",
    )
    teacher_by: Literal["teacher", "student"] = Field(
        "teacher",
        description="how the final judges a teacher's schedule: by the teacher, or by a student "
        "that learns from it without a policy, which takes more than twice the time",
    )
    confirm: ConfirmParams | None = Field(
        ConfirmParams(), description="the final; null: use the algorithm's best schedule"
    )

    @property
    def intervals(self) -> int:
        """Number of intervals of a whole training; the last may be shorter than the others."""
        return -(-self.epochs // self.interval_epochs)

    @property
    def lanes(self) -> int:
        """Number of tasks of a generation: PBT's population, a quarter of it elsewhere."""
        if self.algorithm == "ladder":
            return 0
        return self.population if self.algorithm == "pbt" else max(1, self.population // 4)

    @property
    def generations(self) -> int:
        """Number of generations of the algorithm: so many that the tasks are as many as PBT's."""
        if self.algorithm == "pbt":
            return sum(count for _, count in self.rounds)
        return self.intervals * self.population // self.lanes if self.lanes else 0

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """Interval in epochs and number of generations of each round of PBT."""
        intervals = [
            min(self.interval_epochs * 2**number, self.epochs)
            for number in range(self.restarts + 1)
        ]
        return [(interval, -(-self.epochs // interval)) for interval in intervals]

    @property
    def proposed_epochs(self) -> int:
        """Epochs of the algorithm's tasks, at most: where a constant policy ends another begins."""
        if self.algorithm == "pbt":
            return self.population * self.epochs * (self.restarts + 1)
        return self.lanes * self.generations * self.interval_epochs

    @property
    def tasks(self) -> int:
        """Number of tasks of the whole search, at most: without PBT the last can stay unused."""
        return self.lanes * self.generations + (self.confirm.trainings if self.confirm else 0)

    @model_validator(mode="after")
    def _interval_fits(self) -> "SearchParams":
        if self.interval_epochs > self.epochs:
            raise ValueError(
                f"interval_epochs {self.interval_epochs} is longer than epochs {self.epochs}; "
                "make it at most epochs"
            )
        return self

    @model_validator(mode="after")
    def _members_are_of_pbt(self) -> "SearchParams":
        if self.restarts and self.algorithm != "pbt":
            raise ValueError(f"restarts: {self.algorithm} has none; set it to 0, or take pbt")
        if self.start == "ladder" and self.algorithm != "pbt":
            raise ValueError(
                f"start: ladder, but {self.algorithm} has no members; set it to none, or take pbt"
            )
        if self.start == "ladder" and not self.ladder:
            raise ValueError("start: ladder, but ladder is empty; name rungs, or set it to none")
        return self

    @model_validator(mode="after")
    def _final_fits(self) -> "SearchParams":
        if len(set(self.ladder)) < len(self.ladder):
            raise ValueError("ladder: names a rung twice; name each once")
        if self.confirm is None:
            if self.teacher_by == "student":
                raise ValueError(
                    "teacher_by: student, but only a final trains students; name confirm.rungs, or "
                    "set it to teacher"
                )
            if self.algorithm == "ladder":
                raise ValueError(
                    "confirm: null, but only a final can choose among the rungs of the ladder; "
                    "name its rungs, or choose another algorithm"
                )
            return self
        proposed = self.proposals if self.lanes else 0
        if proposed + len(self.ladder) < 1:
            raise ValueError("ladder: empty, so the final has one candidate, none; name rungs")
        # none, and the teacher's schedule for a student
        if (count := 2 + proposed + len(self.ladder)) > self.confirm.candidates:
            raise ValueError(
                f"confirm.rungs: the first takes {self.confirm.candidates} candidates, but there "
                f"can be {count} (none, the teacher's schedule, {proposed} proposals, "
                f"{len(self.ladder)} of the ladder); name fewer, or make it {count}"
            )
        return self


def _default_arms() -> "dict[str, ArmParams]":
    """Return the arms of the default run, which are in its params file and nowhere else."""
    text = resources("rolekd.presets").joinpath("digits.yaml").read_text(encoding="utf-8")
    rows = yamlfiles.parse(text, "digits.yaml")["compare"]["arms"]
    return {name: ArmParams.model_validate(row) for name, row in rows.items()}


class ArmParams(Section):
    """One arm of the comparison: what a student learns from, and how its images are augmented.

    Arms share everything else: data, budget, seeds.
    """

    distilled: bool = Field(description="false: the cross-entropy alone")
    augmentation: str = Field(
        description="before the base augmentation: none, randaugment, trivialaugment, adaptive "
        "(the surer the student is of an image, the stronger), teacher-schedule, "
        "student-schedule, or schedules/FILE.json"
    )
    teacher: TeacherName = Field(
        description="searched: trained with its schedule; plain: with the base augmentation alone; "
        "randaugment, adaptive: with that augmentation, which needs no search"
    )
    starts_from: Literal["teacher", "scratch"] = Field(
        description="teacher: its weights where shapes agree"
    )
    label: str = Field(
        "",
        max_length=200,
        description="name in sentences and tables; empty: made from the other keys",
    )


class CompareParams(Section):
    """The arms, and how they are used."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = Field(8, description="trainings of each arm")
    baseline: str = Field("kd-rolewise", description="the arm that the others are compared with")
    export: str = Field(
        CONFIRMED,
        description="the arm whose first seed is exported; confirmed: the arm whose augmentation "
        "won the final of the student's search",
    )
    arms: Annotated[dict[ArmName, ArmParams], BeforeValidator(_arms)] = Field(
        default_factory=_default_arms, min_length=1, description="name -> arm"
    )

    @property
    def teachers(self) -> list[TeacherName]:
        """The teachers that the arms learn from or start from."""
        return list(dict.fromkeys(arm.teacher for arm in self.arms.values()))

    @model_validator(mode="after")
    def _named_arms_exist(self) -> "CompareParams":
        for key in ("baseline", "export"):
            name = getattr(self, key)
            if name not in self.arms and (key, name) != ("export", CONFIRMED):
                raise ValueError(
                    f"{key} {name!r} is not an arm; name one of {few(list(self.arms), 20)}"
                )
        return self

    @property
    def confirmable(self) -> dict[str, str]:
        """Augmentation -> the first arm whose students are trained as the student's final does."""
        found: dict[str, str] = {}
        for name, arm in self.arms.items():
            if arm.distilled and (arm.teacher, arm.starts_from) == ("searched", "teacher"):
                found.setdefault(arm.augmentation, name)
        return found


Target = Literal["cpu", "cpu-vnni", "cpu-amx", "float"]  # what each is: rolekd.export.graph.build


class ExportParams(Section):
    """The deployed graph."""

    target: Target = Field("cpu", description="processors for which the graph is built")
    strict: bool = Field(False, description="refuse layers without an exact integer form")
    resize: bool = Field(False, description="the file takes images of any size")


class PromoteParams(Section):
    """Conditions under which a version becomes the champion."""

    accuracy_least: Points | None = Field(
        None,
        description="percent of the test images that it must classify correctly; null: clearly "
        "more than the largest class, by a one-sided exact test",
    )
    test_images_least: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        100, description="test images that it must have been measured on"
    )
    accuracy_points_lost: Points = Field(
        1.0, description="percentage points that it may lose to the champion"
    )
    significance: OpenFraction = Field(
        0.05, description="level of the paired test against the champion"
    )
    teacher_points_lost: Points = Field(
        20.0, description="percentage points that it may lose to its teacher"
    )
    bytes: Annotated[int, Field(ge=1, le=2**31 - 1)] = Field(
        50_000_000, description="largest file; ONNX files are below 2 GiB"
    )
    latency_ratio: Annotated[float, Field(ge=0.01, le=1000.0)] = Field(
        1.25, description="largest ratio of its latency to the champion's"
    )


class TrackParams(Section):
    """Where runs are recorded."""

    uri: str | None = Field(
        None, description="MLflow tracking URI; null: mlflow.db beside dvc.yaml"
    )
    system_metrics: bool = Field(
        False, description="record processor, memory, disk, network and GPU every ten seconds"
    )


class MachineParams(Section):
    """How a run uses the machine; this does not change results."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="for networks and augmentation; auto: a GPU if there is one"
    )
    workers: Processes | Literal["auto"] = Field(
        "auto",
        description="trainings at once, in a search or for an arm's students; auto: one on each "
        "GPU, or one for every `threads` cores",
    )
    workers_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="trainings that share a GPU, for networks too small to fill one"
    )


class Params(Section):
    """Everything that decides a run."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        0, description="base of all random streams"
    )
    threads: Threads = Field(
        1, description="of one training; part of what makes a run reproducible"
    )
    data: DataParams = DataParams()
    augment: BaseAugmentParams = BaseAugmentParams()
    search: SearchParams = SearchParams()
    teacher: TeacherParams = TeacherParams()
    student: StudentParams = StudentParams()
    distill: DistillParams = DistillParams()
    compare: CompareParams = CompareParams()
    export: ExportParams = ExportParams()
    machine: MachineParams = MachineParams()
    promote: PromoteParams = PromoteParams()
    track: TrackParams = TrackParams()

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> "Params":
        """Return the parameters of a preset.

        Args:
            name: Of the preset.
            changes: Dotted keys that differ, such as {"student.bits": 4}.

        Raises:
            InputError: The preset or key does not exist, or a value does not fit.
        """
        from rolekd import presets  # they are read by this schema

        values = yamlfiles.parse(presets.find(name).text, name)
        for key, value in (changes or {}).items():
            *sections, last = key.split(".")
            place = values
            for section in sections:
                if not isinstance(place, dict) or section not in place:
                    raise InputError(f"{key}: no such key in params.yaml; check its sections")
                place = place[section]
            place[last] = value
        return parse(values, f"preset {name}")

    def trained_by_search(self, role: Role) -> set[Role]:
        """Return the roles whose networks are trained in the search of a role's schedule."""
        found: set[Role] = {role}
        if self.search.teacher_by == "student":
            found.add("student")
        anew = self.search.confirm is not None and self.search.confirm.teacher == "anew"
        if role == "student" and anew and self.teacher.train:
            found.add("teacher")
        return found

    @model_validator(mode="after")
    def _confirmed_needs_a_final(self) -> "Params":
        if self.compare.export == CONFIRMED and self.search.confirm is None:
            raise ValueError(
                "compare.export: confirmed, but search.confirm is null; name an arm, or the rungs "
                "of a final"
            )
        return self

    @model_validator(mode="after")
    def _students_begin_alike(self) -> "Params":
        if self.student.weights is not None:
            starts = {arm.starts_from for arm in self.compare.arms.values()}
            if len(starts) > 1:
                raise ValueError(
                    "student.weights: every student begins with them, but compare.arms differ in "
                    "starts_from; give all arms the same"
                )
        return self

    @model_validator(mode="after")
    def _search_outlasts_starts(self) -> "Params":
        if self.search.algorithm == "ladder":
            return self
        for role in (self.teacher, self.student):
            if role.training.warmup_epochs >= self.search.epochs:
                raise ValueError(
                    f"search.epochs {self.search.epochs} must be more than warmup_epochs "
                    f"{role.training.warmup_epochs:g}; make it more"
                )
        if self.student.training.float_epochs >= self.search.epochs:
            raise ValueError(
                f"search.epochs {self.search.epochs} leaves none quantised after float_epochs "
                f"{self.student.training.float_epochs} of the student; make it more"
            )
        return self


_OTHER_TEACHERS: Mapping[TeacherName, str] = {
    "searched": "searched teacher",
    "plain": "plain teacher",
    "randaugment": "RandAugment teacher",
    "adaptive": "adaptive teacher",
}


def teacher_name(name: TeacherName, main: TeacherName = "searched") -> str:
    """Return what a teacher is called in tables and metrics of arms; `main` is just "teacher"."""
    return TEACHER_NAME if name == main else _OTHER_TEACHERS[name]


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a params file; every fault is one line that names the file and the key."""
    content = yamlfiles.load(path, "run in the project's folder or name the file with --params")
    return parse(content if content is not None else {}, str(path))


def parse(content: Any, origin: str) -> Params:
    """Check the content of a params file; `origin` names it in errors."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        # not its cause: pydantic's own text holds all values, however large and secret
        raise InputError(f"{origin}: {faults(error)}") from None


_MOST_FAULTS = 10
_MOST_CHARACTERS = 60


def faults(error: ValidationError, model: type[BaseModel] = Params) -> str:
    """Return the faults of a file in one line; `model` is what it should have been."""
    found = error.errors(include_url=False)
    lines = [_fault(fault, model) for fault in found[:_MOST_FAULTS]]
    if len(found) > len(lines):
        lines.append(f"and {len(found) - len(lines)} more")
    return "; ".join(lines)


def _fault(fault: Any, model: type[BaseModel]) -> str:
    location = fault["loc"]
    # pydantic's word for a wrong key; the key is before it
    parts = [part for part in location if part != "[key]"]
    key = ".".join(_cut(str(part)) for part in parts) or "the file"
    if fault["type"] == "extra_forbidden" and key in REPLACED:
        return f"{key}: is {REPLACED[key]} now; change the file"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], model)
        hint = did_you_mean(_cut(str(location[-1])), known, "remove it")
        return f"{key}: unknown key; {hint}"
    message = fault["msg"].removeprefix("Value error, ").split(" or instance of ")[0]
    text = f"{key}: {message[0].lower()}{message[1:]}"
    if fault["type"] in ("value_error", "missing") and isinstance(fault["input"], Mapping):
        return text  # of a section; the message names what is wrong in it
    value = fault["input"]
    if isinstance(value, Mapping):  # its contents are in the file, and too long for a line
        return f"{text} (is a section)"
    return f"{text} (is {'a list' if isinstance(value, list | tuple) else brief(value)})"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _known_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for key in location:
        field = model.model_fields.get(str(key))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
