"""Stage export: the first seed's student of the exported arm, as an integer ONNX graph.

Neither is chosen on the test images: params.yaml names the arm, or the final of the student's
search does, on validation images; the seed is fixed here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.errors import RunError
from rolekd.export import verify
from rolekd.export.write import export as write
from rolekd.outputs import Arms, ExportedRecord, ExportFigures, ExportMetrics, Outputs
from rolekd.params import ExportParams
from rolekd.quantize.integer import IntegerModel
from rolekd.quantize.lower import lower
from rolekd.quantize.size import network_size
from rolekd.stages.stage import Stage
from rolekd.train import roles

_SEED = 0  # of the exported student; its file and its run say so


def export(stage: Stage) -> None:
    """Export the student and check the graph on every test image."""
    params, outputs = stage.params, stage.outputs
    arm = Arms.load(outputs.arms).exported
    stage.run.set_tags({"arm": arm, "seed": _SEED})
    torch.set_num_threads(params.threads)
    dataset = datasets.load(outputs.data)
    network, about = roles.load(outputs.student(arm, _SEED), dataset)
    metadata = _metadata(outputs, arm, dataset, about)
    found = export_network(network, dataset, outputs.graph, params.export, metadata)
    found.save(outputs.verification)
    stage.run.log_artifact(outputs.graph)
    stage.run.log_artifact(outputs.student(arm, _SEED))
    figures = found.model_dump(include={*ExportFigures.model_fields})
    stage.run.log_metrics(figures)
    metrics = ExportMetrics(test_accuracy={"exported": found.test_accuracy}, bytes=found.bytes)
    stage.tell_group(metrics)
    stage.finish(metrics, ends_of_curves=True)
    say(
        f"{outputs.graph}: {found.bytes} bytes, equal to the integer evaluation on "
        f"{found.argmax_equal} of {found.images} test images"
    )


def export_network(
    network: nn.Module,
    dataset: Dataset,
    path: Path,
    params: ExportParams,
    metadata: Mapping[str, str],
) -> ExportedRecord:
    """Write a student as an integer graph that equals its integers on every test image.

    Args:
        network: In evaluation mode.
        dataset: That it was trained on.
        path: Of the file, which exists only once it is verified.
        params: Target, strictness, sizes.
        metadata: What the file says about itself.

    Raises:
        RunError: The graph differs from the integers.
    """
    integers = lower(
        network,
        mean=dataset.mean,
        std=dataset.std,
        image_size=dataset.image_size,
        strict=params.strict,
    )
    with files.replacing(path) as unproven:
        summary = write(
            integers,
            unproven,
            classes=dataset.classes,
            target=params.target,
            resize=params.resize,
            metadata=metadata,
        )
        checked = _verified(unproven, integers, dataset, path)
    figures = _figures(summary.bytes, checked, network, dataset)
    return ExportedRecord(
        **figures.model_dump(),
        sha256=summary.sha256,
        forms=summary.forms,
        inexact=summary.inexact,
    )


def _figures(
    length: int, checked: verify.Verification, network: nn.Module, dataset: Dataset
) -> ExportFigures:
    cost = network_size(network, (dataset.channels, *dataset.image_size))
    return ExportFigures(
        bytes=length,
        images=checked.images,
        argmax_equal=checked.argmax_equal,
        largest_logit_difference=checked.largest_difference,
        test_accuracy=float((checked.predictions == dataset.split("test")[1]).mean()),
        parameters=cost.parameters,
        bits_per_parameter=cost.bits_per_parameter,
        bit_operations=cost.bit_operations,
    )


def _metadata(
    outputs: Outputs, arm: str, dataset: Dataset, about: Mapping[str, Any]
) -> dict[str, str]:
    """Return what the file says about itself."""
    accuracy = Arms.load(outputs.arms).arm(arm).test_accuracies[_SEED]
    return {
        "arm": arm,
        "seed": str(_SEED),
        "test_accuracy": f"{accuracy:.6f}",
        **describe(outputs.student(arm, _SEED), dataset, about),
    }


def describe(weights: Path, dataset: Dataset, about: Mapping[str, Any]) -> dict[str, str]:
    """Return what a file says of the student whose `weights` it has."""
    return {
        **{key: str(about[key]) for key in ("weight_bits", "activation_bits")},
        **{key: str(about[key]) for key in ("quantizer", "residual", "ends") if key in about},
        "data_digest": dataset.digest,
        "weights_sha256": files.sha256(weights),
    }


def _verified(
    graph: Path, integers: IntegerModel, dataset: Dataset, name: Path
) -> verify.Verification:
    """Compare the graph with the integer evaluation on the test images; all must agree."""
    images, _ = dataset.split("test")
    checked = verify.verify(graph, integers, images, layers=True, name=str(name))
    if not checked.exact:
        raise RunError(
            f"{name}: differs from the integer evaluation on "
            f"{checked.images - checked.argmax_equal} of {checked.images} images, first in "
            f"{checked.first_different or 'the logits'}; report this with the weights"
        )
    return checked
