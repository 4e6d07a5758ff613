"""The assessment of a candidate: its evidence, the champion's, and both graphs side by side."""

import tempfile
from dataclasses import replace
from pathlib import Path

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.export import measure, session
from rolekd.params import PromoteParams
from rolekd.track import evidence as evidences
from rolekd.track import registry
from rolekd.track.evidence import Evidence
from rolekd.track.gates import Gate, judge

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
        new = registry.fetch(name, str(candidate), Path(folder) / "candidate", uri)
        found = _evidence(new, f"version {candidate}")
        network = _load(new, f"version {candidate}")
        if champion is None:
            return judge(found, None, None, limits)
        old = registry.fetch(name, str(champion), Path(folder) / "champion", uri)
        known, present = _evidence(old, f"version {champion}"), _load(old, f"version {champion}")
        known = _on_the_same_data(known, found, present, data)
        return judge(found, known, _latency_ratio(network, present), limits)


def _evidence(folder: Path, origin: str) -> Evidence:
    path = folder / "extra_files" / evidences.FILE
    if not path.exists():
        raise InputError(
            f"promote: {origin} has no evidence; run `dvc repro register` to register it with it"
        )
    found = evidences.parse(files.read_json(path), origin)
    if files.sha256(folder / registry.GRAPH_FILE) != found.sha256:
        raise InputError(f"promote: the evidence of {origin} is about another file; register again")
    return found


def _load(folder: Path, origin: str) -> session.Session:
    return session.load(folder / registry.GRAPH_FILE, name=f"promote: {origin}")


def _on_the_same_data(
    champion: Evidence, candidate: Evidence, network: session.Session, data: Path
) -> Evidence:
    """Return the champion's evidence on the candidate's test images, tested anew if need be."""
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


def _latency_ratio(candidate: session.Session, champion: session.Session) -> float:
    """Return the ratio of median latencies of one image, measured in turns on this machine."""
    both = {"candidate": candidate, "champion": champion}
    found = measure.of_one_image(both, seconds=_SECONDS)
    return found["candidate"].median / found["champion"].median
