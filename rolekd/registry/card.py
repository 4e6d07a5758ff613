"""The model card: what users of a version must know, as Markdown."""

import re
import shlex
from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from rolekd.data.dataset import Dataset
from rolekd.display import shown
from rolekd.registry.evidence import Evidence
from rolekd.secrets import blanked

# facts that stand among the figures
_OTHERWISE_SHOWN = (
    *("data_digest", "test_accuracy", "bytes", "latency_ms", "machine", "failures", "task"),
)

# to Markdown, and to what renderers add: tables, strikethrough, formulas; lists at a line's start
_SPECIAL = re.compile(r"[\\`*_{}\[\]()~|$#!]|^\s*(?:[-+=]|\d+[.])")


def card(
    evidence: Evidence,
    dataset: Dataset,
    about: Mapping[str, object],
    name: str,
    failures: Sequence[str] = (),
    alias: str = "champion",
) -> str:
    """Return the model card as Markdown.

    Args:
        evidence: measured facts.
        dataset: what it was trained and tested on.
        about: further facts, as in schedule hashes, bits and commit.
        name: registered name.
        failures: the failures of its run, a line each.
        alias: that refers to the version.
    """
    height, width = dataset.image_size
    seeds = ", ".join(f"{100 * value:.2f}" for value in evidence.accuracies)
    uri = shown(f"models:/{name}@{alias}")
    address = shlex.quote(uri)
    return f"""# {_text(name)}

A low-bit image classifier, distilled from a full-precision teacher (arm {_text(evidence.arm)}).

## Input and output
uint8 images [N, {height}, {width}, {dataset.channels}] with values 0..255, as they are: the
preprocessing is inside. The outputs are logits and probabilities over {len(dataset.classes)}
classes: {", ".join(map(_text, dataset.classes))}.

{_failures(failures)}## Figures
- test accuracy {100 * evidence.accuracy:.2f} % on {len(evidence.labels)} images,
  {_interval(evidence)}
- all seeds of the arm: {seeds} %; this is the seed named in advance, not the best
- teacher, full precision: {100 * evidence.teacher_accuracy:.2f} %
- latency of one image on one thread: {about.get("latency_ms", "not measured")} ms, median, on
  {_text(about.get("machine", "an unknown machine"))}
- file: {evidence.bytes:,} bytes, SHA-256 {evidence.sha256}
- same class as the integer evaluation in PyTorch on {evidence.parity_equal} of
  {evidence.parity_images} test images

## Where it comes from
- data: {_text(dataset.name)}, digest {evidence.data_digest}
{_facts(about)}

## Use and limits
Meant for images like those of its data set ({_text(dataset.name)}): same size, same kind, one of
its classes in each. On anything else its answer is meaningless, however high the probability. Its
probabilities are those of the network; the report shows how well they are calibrated.

## How to load it
    rolekd predict --model {address} IMAGES...
    rolekd serve --model {address}
    mlflow models serve -m {address} --env-manager local
The first two check the file and run only that; MLflow runs whatever code a version names. The alias
leads to the version that has it now. In Python:

    model = mlflow.pyfunc.load_model({uri!r})
    shares = model.predict({{"image": images}})["probabilities"]  # uint8, batch first
    names = [model.metadata.metadata["classes"][best] for best in shares.argmax(1)]

The code is under Apache-2.0; the data's own licence holds for what is learned from it.
"""


def _failures(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "## Failures\n" + "".join(f"- {_text(line)}\n" for line in lines) + "\n"


def _facts(about: Mapping[str, object]) -> str:
    return "\n".join(
        f"- {_text(key)}: {_text(value)}"
        for key, value in blanked(about).items()
        if key not in _OTHERWISE_SHOWN
    )


def _text(foreign: object) -> str:
    """Return text from outside so that Markdown shows it literally, on one line, without HTML."""
    escaped = _SPECIAL.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", shown(foreign))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _interval(evidence: Evidence) -> str:
    """Return the exact (Clopper-Pearson) interval of the accuracy over test images, as text."""
    found = binomtest(int(evidence.right.sum()), len(evidence.labels)).proportion_ci(0.95, "exact")
    return f"95 % interval {100 * found.low:.2f} to {100 * found.high:.2f} % over images"
