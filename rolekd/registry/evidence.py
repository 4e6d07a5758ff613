"""Evidence about an exported student: stored with its version, so that gates can judge it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.export import session
from rolekd.outputs import EvaluateMetrics, ExportedRecord, Outputs
from rolekd.report.datafiles import load_predictions, load_weights

FILE = "evidence.json"


@dataclass(frozen=True)
class Evidence:
    """Measured facts about one exported student.

    Attributes:
        data_digest: of the data that it was trained and tested on.
        predictions: its class on each test image, in the data's order.
        labels: the true classes.
        teacher_accuracy: of the full-precision teacher on the same images, 0..1.
        parity_images: images on which the graph was compared with the integer evaluation.
        parity_equal: how many of them got the same class.
        bytes: size of the file.
        sha256: of the file.
        arm: the arm that it comes from.
        accuracies: the arm's test accuracy, one per seed.
    """

    data_digest: str
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    teacher_accuracy: float
    parity_images: int
    parity_equal: int
    bytes: int
    sha256: str
    arm: str
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Share of the test images that it gets right."""
        return float(np.mean(self.right))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which test images it gets right, bool [N]."""
        right: NDArray[np.bool_] = np.asarray(self.predictions) == np.asarray(self.labels)
        return right

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON object."""
        return asdict(self)


def parse(content: Any, origin: str) -> Evidence:
    """Check what was read from an evidence file.

    Raises:
        InputError: something is missing or does not fit; `origin` names the file.
    """
    try:
        found = Evidence(
            **{
                **content,
                "predictions": tuple(map(int, content["predictions"])),
                "labels": tuple(map(int, content["labels"])),
                "accuracies": tuple(map(float, content["accuracies"])),
            }
        )
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{origin}: incomplete evidence ({error}); register again") from error
    if not found.labels or len(found.predictions) != len(found.labels):
        raise InputError(f"{origin}: evidence without predictions for its labels; register again")
    return found


def gather_evidence(outputs: Outputs, arm: str, seed: int) -> Evidence:
    """Gather the evidence from what the stages before `register` wrote.

    Args:
        outputs: where the stages' outputs are.
        arm: the exported arm.
        seed: number of the exported seed.

    Raises:
        InputError: they are not about the same network: a stage in between was skipped.
    """
    dataset = datasets.load(outputs.data)
    logits, labels = load_predictions(outputs.predictions)
    checked = ExportedRecord.load(outputs.verification)
    _require_same_weights(outputs, arm, seed, checked.sha256)
    if arm not in logits or seed >= len(logits[arm]):
        raise InputError(f"{outputs.predictions}: no seed {seed} of arm {arm!r}; evaluate again")
    return Evidence(
        data_digest=dataset.digest,
        predictions=tuple(logits[arm][seed].argmax(-1).tolist()),
        labels=tuple(labels.tolist()),
        teacher_accuracy=EvaluateMetrics.load(outputs.metrics("evaluate")).teacher_accuracy,
        parity_images=checked.images,
        parity_equal=checked.argmax_equal,
        bytes=checked.bytes,
        sha256=checked.sha256,
        arm=arm,
        accuracies=tuple((one.argmax(-1) == labels).mean().item() for one in logits[arm]),
    )


def _require_same_weights(outputs: Outputs, arm: str, seed: int, sha256: str) -> None:
    """Refuse predictions and a verification of another network than the exported one."""
    if files.sha256(outputs.graph) != sha256:
        raise InputError(
            f"{outputs.graph}: is not the file that {outputs.verification} is about; "
            "dvc repro export"
        )
    made = load_weights(outputs.predictions).get(arm, [])
    exported = session.load(outputs.graph).metadata.get("weights_sha256")
    if seed < len(made) and made[seed] != exported:
        raise InputError(
            f"{outputs.predictions}: the predictions of {arm}, seed {seed}, are of other weights "
            f"than {outputs.graph}; dvc repro evaluate export"
        )
    if not made:
        raise InputError(
            f"{outputs.predictions}: does not say which weights made the predictions of {arm!r}; "
            "evaluate again (dvc repro evaluate)"
        )
