"""Are the files of trained students exact on this processor?

    python results/deploy/exact.py NETWORKS OUTPUT

NETWORKS is what `train.py` beside this file wrote. It exports both students for every target of
8-bit kernels, and compares classes and logits on all test images and every map of levels on the
first 500.
"""

import sys
from collections import Counter
from pathlib import Path

import torch

from rolekd.data import dataset as datasets
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.quantize import lower
from rolekd.train import roles

_LAYERS = 500  # images


def main() -> None:
    """Export and compare."""
    networks, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    dataset = datasets.load(networks / "data")
    images, labels = dataset.split("test")
    for name in ("w2a2", "w4a4"):
        student, _ = roles.load(networks / f"{name}.safetensors", dataset)
        integers = lower(student, mean=dataset.mean, std=dataset.std, image_size=dataset.image_size)
        for target in ("cpu", "cpu-vnni"):
            path = output / f"{name}-{target}.onnx"
            summary = export(integers, path, classes=dataset.classes, metadata={}, target=target)
            every = verify(path, integers, images)
            deep = verify(path, integers, images[:_LAYERS], layers=True)
            print(  # noqa: T201
                f"{name} {target}: {every.argmax_equal} of {every.images} classes equal, logits "
                f"within {every.largest_difference:.1e} of a range of {every.logit_range:.1f}, "
                f"first map that differs {deep.first_different}, accuracy "
                f"{(every.predictions == labels).mean():.4f}, {summary.bytes} bytes, "
                f"{dict(Counter(summary.forms.values()))}",
                flush=True,
            )


if __name__ == "__main__":
    main()
