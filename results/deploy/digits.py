"""Students of digits for `without_vnni.py`: a few seconds of training, exported for both targets.

python results/deploy/digits.py OUTPUT
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rolekd.data import dataset as datasets
from rolekd.data.batches import Normalize
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.params import DataParams
from rolekd.quantize import convert, lower
from rolekd.sources.prepare import prepare

STEPS, BATCH = 300, 64


def main() -> None:
    """Train, export and verify."""
    torch.set_num_threads(1)
    output = Path(sys.argv[1])
    dataset = prepare(DataParams(), seed=0)
    datasets.save(dataset, output / "data")
    images, labels = dataset.split("train")
    x, y = Normalize(dataset)(images), torch.from_numpy(np.array(labels))
    for bits, quantizer in ((2, "dorefa"), (4, "lsq"), (7, "dorefa")):
        float_network = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=8, seed=0)
        student = convert(
            float_network, weight_bits=bits, activation_bits=bits, quantizer=quantizer
        )
        optimizer = torch.optim.Adam(student.parameters(), 1e-2)
        generator = torch.Generator().manual_seed(0)
        for _ in range(STEPS):
            batch = torch.randint(0, len(x), (BATCH,), generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(student(x[batch]), y[batch]).backward()
            optimizer.step()
        integers = lower(student.eval(), mean=dataset.mean, std=dataset.std, image_size=(8, 8))
        for target in ("cpu", "cpu-vnni"):
            path = output / f"w{bits}-{quantizer}-{target}.onnx"
            export(integers, path, classes=dataset.classes, metadata={}, target=target)
            test = dataset.split("test")
            found = verify(path, integers, test[0], layers=True)
            accuracy = (found.predictions == test[1]).mean()
            print(f"{path}: exact {found.exact}, test accuracy {accuracy:.4f}")  # noqa: T201


if __name__ == "__main__":
    main()
