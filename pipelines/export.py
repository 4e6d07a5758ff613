"""Stage export: the student of the role-wise arm's first seed as an integer ONNX graph.

Arm and seed are named here, before any result: not the best on the test images.
"""

import click

from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run
from rolekd.display import say

ARM = "kd-rolewise"
SEED = 0


@click.command()
def main() -> None:
    """Export the student and check the graph on every test image."""
    with open_stage("export", tags={"arm": ARM, "seed": SEED}) as stage:
        import torch

        from rolekd import files
        from rolekd.data import dataset as datasets
        from rolekd.errors import RunError
        from rolekd.export.verify import verify
        from rolekd.export.write import export
        from rolekd.quantize.lower import lower
        from rolekd.quantize.size import size
        from rolekd.train import roles

        torch.set_num_threads(stage.params.threads)
        dataset = datasets.load(DATA)
        images, labels = dataset.split("test")
        weights = OUTPUTS / "distill" / ARM / "weights" / f"seed-{SEED}.safetensors"
        network, about = roles.load(weights, dataset)
        integers = lower(
            network,
            mean=dataset.mean,
            std=dataset.std,
            image_size=dataset.image_size,
            strict=stage.params.export.strict,
        )
        arms = {
            row["arm"]: row for row in files.read_json(OUTPUTS / "evaluate" / "arms.json")["arms"]
        }
        accuracy = arms[ARM]["accuracies"][SEED]
        path = stage.folder / "student.onnx"
        with files.replacing(path) as unproven:
            summary = export(
                integers,
                unproven,
                classes=dataset.classes,
                target=stage.params.export.target,
                resize=stage.params.export.resize,
                metadata={
                    "arm": ARM,
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
        figures = {
            "bytes": summary.bytes,
            "images": checked.images,
            "argmax_equal": checked.argmax_equal,
            "largest_logit_difference": checked.largest_difference,
            "accuracy": float((checked.predictions == labels).mean()),
            "parameters": cost.parameters,
            "bits_per_parameter": cost.bits_per_parameter,
            "bit_operations": cost.bit_operations,
        }
        files.write_json(
            stage.folder / "verification.json",
            {
                **figures,
                "sha256": summary.sha256,
                "forms": summary.forms,
                "inexact": summary.inexact,
            },
        )
        stage.run.log_artifact(path)
        stage.finish(figures)
        say(
            f"{path}: {summary.bytes} bytes, equal to the integer evaluation on "
            f"{checked.argmax_equal} of {checked.images} test images"
        )


if __name__ == "__main__":
    run(main, "export")
