"""Train the networks of the deployment table briefly on CIFAR-10, on one CPU core.

A float ResNet18, then a W2A2 and a W4A4 student from its weights; bfloat16 autocast, flips and
shifts. This takes minutes and does not reach a good accuracy: only weights of trained networks
matter.

    python results/deploy/train.py FOLDER_OF_CIFAR10 OUTPUT [STEPS]

writes data/, float.safetensors, w2a2.safetensors and w4a4.safetensors, which
`rolekd bench infer --student --float-network --data` takes.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rolekd import seeds
from rolekd.data import dataset as datasets
from rolekd.models import build, copy_matching
from rolekd.quantize import convert
from rolekd.train import state

BATCH, WIDTH = 64, 64


def read(folder: Path) -> datasets.Dataset:
    """Read the official binary files."""
    parts = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    records = np.concatenate(
        [np.fromfile(next(folder.rglob(part)), np.uint8).reshape(-1, 3073) for part in parts]
    )
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    order = np.random.default_rng(0).permutation(50_000)
    splits = {"train": np.arange(50_000), "test": np.arange(50_000, 60_000)}
    splits |= {"search_train": np.sort(order[:4000]), "search_val": np.sort(order[4000:])}
    classes = tuple(next(folder.rglob("batches.meta.txt")).read_text().split())
    labels = records[:, 0].astype(np.int64)
    return datasets.assemble("cifar10", np.ascontiguousarray(images), labels, classes, splits)


def train(
    network: nn.Module, dataset: datasets.Dataset, steps: int, rate: float, seed: int
) -> nn.Module:
    """Train for some steps with SGD and a one-cycle schedule."""
    generator = torch.Generator().manual_seed(seeds.derive(seed, "batches"))
    images, labels = (torch.from_numpy(np.array(part)) for part in dataset.split("train"))
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (dataset.mean, dataset.std))
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        network.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    began = time.perf_counter()
    for step in range(steps):
        chosen = torch.randint(0, len(images), (BATCH,), generator=generator)
        x = (images[chosen].permute(0, 3, 1, 2) / 255 - mean) / std
        flip, *shift = torch.randint(0, 9, (3,), generator=generator).tolist()
        x = F.pad(x.flip(3) if flip % 2 else x, (4, 4, 4, 4))
        x = x[:, :, shift[0] : shift[0] + 32, shift[1] : shift[1] + 32]
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            seconds = time.perf_counter() - began
            sys.stderr.write(f"step {step} of {steps}: loss {loss.item():.3f}, {seconds:.0f} s\n")
    return network.to(memory_format=torch.contiguous_format).eval()


def main() -> None:
    """Train the three networks."""
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    torch.set_num_threads(1)
    dataset = read(source)
    datasets.save(dataset, output / "data")
    about = {
        "model": "resnet18",
        "width": WIDTH,
        "classes": 10,
        "channels": 3,
        "image_size": [32, 32],
    }
    shape = {"classes": 10, "channels": 3, "image_size": (32, 32), "width": WIDTH}
    teacher = train(build("resnet18", **shape, seed=0), dataset, steps, 0.1, 0)
    state.save_weights(output / "float.safetensors", teacher, {"role": "teacher", **about})
    for bits in (2, 4):
        low = {"quantizer": "dorefa", "weight_bits": bits, "activation_bits": bits}
        low |= {"residual": "quantized", "overrides": {}}
        student = convert(
            build("resnet18", **shape, seed=0), weight_bits=bits, activation_bits=bits
        )
        copy_matching(student, teacher)
        train(student, dataset, steps, 0.02, bits)
        state.save_weights(
            output / f"w{bits}a{bits}.safetensors", student, {"role": "student", **about, **low}
        )


if __name__ == "__main__":
    main()
