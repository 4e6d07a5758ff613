"""What an evaluation and an export leave beside their files, for tests that read it."""

from rolekd.outputs import EvaluateMetrics, ExportedRecord, Outputs
from rolekd.params import TEACHER_NAME


def save(
    outputs: Outputs,
    *,
    size: int,
    images: int,
    teacher_accuracy: float = 0.5,
    bits: float = 2.0,
    sha256: str = "ab",
) -> None:
    """Save the metrics of `evaluate` and the verification of a graph of `size` bytes."""
    metrics = EvaluateMetrics(test_accuracy={TEACHER_NAME: teacher_accuracy})
    metrics.save(outputs.metrics("evaluate"))
    ExportedRecord(
        bytes=size,
        images=images,
        argmax_equal=images,
        largest_logit_difference=0.0,
        test_accuracy=0.5,
        parameters=10,
        bits_per_parameter=bits,
        bit_operations=10,
        sha256=sha256,
        forms={},
        inexact=[],
    ).save(outputs.verification)
