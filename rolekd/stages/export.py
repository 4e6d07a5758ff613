"""Stage export: the first seed's student of the arm `compare.export`, as an integer ONNX graph.

The arm is named in params.yaml and the seed here, before any result: not the best on the test
images.
"""

import torch

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.display import say
from rolekd.errors import RunError
from rolekd.export.verify import verify
from rolekd.export.write import export as write
from rolekd.outputs import Arms, ExportMetrics, Verification
from rolekd.quantize.lower import lower
from rolekd.quantize.size import size
from rolekd.stages.stage import Stage
from rolekd.train import roles

SEED = 0


def export(stage: Stage) -> None:
    """Export the student and check the graph on every test image."""
    params, outputs = stage.params, stage.outputs
    arm = params.compare.export
    stage.run.set_tags({"arm": arm, "seed": SEED})
    torch.set_num_threads(params.threads)
    dataset = datasets.load(outputs.data)
    images, labels = dataset.split("test")
    weights = outputs.student(arm, SEED)
    network, about = roles.load(weights, dataset)
    integers = lower(
        network,
        mean=dataset.mean,
        std=dataset.std,
        image_size=dataset.image_size,
        strict=params.export.strict,
    )
    accuracy = Arms.load(outputs.arms).arm(arm).accuracies[SEED]
    path = outputs.graph
    with files.replacing(path) as unproven:
        summary = write(
            integers,
            unproven,
            classes=dataset.classes,
            target=params.export.target,
            resize=params.export.resize,
            metadata={
                "arm": arm,
                "seed": str(SEED),
                "weight_bits": str(about["weight_bits"]),
                "activation_bits": str(about["activation_bits"]),
                "quantizer": about["quantizer"],
                "residual": about["residual"],
                "test_accuracy": f"{accuracy:.6f}",
                "data_digest": dataset.digest,
                "weights_sha256": files.sha256(weights),
            },
        )
        checked = verify(unproven, integers, images, layers=True, name=str(path))
        if not checked.exact:
            raise RunError(
                f"{path}: differs from the integer evaluation on "
                f"{checked.images - checked.argmax_equal} of {checked.images} images, first in "
                f"{checked.first_different or 'the logits'}; report this with the weights"
            )
    cost = size(network, (dataset.channels, *dataset.image_size))
    metrics = ExportMetrics(
        bytes=summary.bytes,
        images=checked.images,
        argmax_equal=checked.argmax_equal,
        largest_logit_difference=checked.largest_difference,
        accuracy=float((checked.predictions == labels).mean()),
        parameters=cost.parameters,
        bits_per_parameter=cost.bits_per_parameter,
        bit_operations=cost.bit_operations,
    )
    Verification(
        **metrics.model_dump(exclude={"mlflow_run_id"}),
        sha256=summary.sha256,
        forms=summary.forms,
        inexact=summary.inexact,
    ).save(outputs.verification)
    stage.run.log_artifact(path)
    stage.finish(metrics)
    say(
        f"{path}: {summary.bytes} bytes, equal to the integer evaluation on "
        f"{checked.argmax_equal} of {checked.images} test images"
    )
