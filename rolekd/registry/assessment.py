"""The assessment of a candidate: its evidence, the champion's, and both graphs side by side."""

import tempfile
from dataclasses import replace
from pathlib import Path

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.export import measure
from rolekd.export.session import Session
from rolekd.params import PromoteParams
from rolekd.registry import evidence as evidences
from rolekd.registry import fetch
from rolekd.registry.evidence import Evidence
from rolekd.registry.gates import Gate, judge

_SECONDS = 0.5  # of timing, for each of the two


def assess(
    name: str, candidate: int, champion: int | None, limits: PromoteParams, uri: str, data: Path
) -> list[Gate]:
    """Fetch both versions and put the candidate through the gates.

    Args:
        name: registered name.
        candidate: its version number.
        champion: the present champion's; None where there is none.
        limits: of the gates.
        uri: MLflow tracking URI.
        data: prepared data, to test an older champion on new data.

    Raises:
        InputError: a version's evidence is missing, incomplete, or about another file; or its
            file does not run exactly on this machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        found, network = _open(name, candidate, Path(folder) / "candidate", uri)
        if champion is None:
            return judge(found, None, None, limits)
        known, present = _open(name, champion, Path(folder) / "champion", uri)
        known = _on_the_same_data(known, found, present, data)
        return judge(found, known, _latency_ratio(network, present), limits)


def _open(name: str, version: int, folder: Path, uri: str) -> tuple[Evidence, Session]:
    """Return a version's evidence, and the network that it describes."""
    fetched = fetch.fetch(name, str(version), folder, uri, origin=f"promote: version {version}")
    if not fetched.evidence.exists():
        raise InputError(
            f"{fetched.origin} has no evidence; run `dvc repro register` to register it with "
            f"evidence"
        )
    found = evidences.parse(files.read_json(fetched.evidence), fetched.origin)
    if found.sha256 != fetched.sha256:
        raise InputError(f"{fetched.origin}: its evidence is about another file; register it again")
    return found, fetched.open()


def _on_the_same_data(
    champion: Evidence, candidate: Evidence, network: Session, data: Path
) -> Evidence:
    """Return the champion's evidence on the candidate's test images, tested again if necessary."""
    if champion.data_digest == candidate.data_digest or not (data / "dataset.json").exists():
        return champion
    dataset = datasets.load(data)
    images, labels = dataset.split("test")
    if dataset.digest != candidate.data_digest or images.shape[1:] != network.image_shape:
        return champion
    logits, _ = network(images)
    return replace(
        champion,
        data_digest=dataset.digest,
        labels=tuple(labels.tolist()),
        predictions=tuple(logits.argmax(-1).tolist()),
    )


def _latency_ratio(candidate: Session, champion: Session) -> float:
    """Return the ratio of median latencies of one image, measured in turns on this machine."""
    both = {"candidate": candidate, "champion": champion}
    found = measure.of_one_image(both, seconds=_SECONDS)
    return found["candidate"].median / found["champion"].median
