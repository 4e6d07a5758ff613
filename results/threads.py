"""Steps of a small student with several threads, to be run beside other work or alone.

    python results/threads.py 2                         # as rolekd sets OpenMP up
    OMP_WAIT_POLICY=active python results/threads.py 2    # as OpenMP is by default

The last line is the median of the milliseconds of 40 steps (resnet8 of width 8, W2A2, batch 128).
"""

import statistics
import time

import click

from rolekd.cli import run

STEPS = 40


@click.command()
@click.argument("threads", type=int)
def main(threads: int) -> None:
    """Take the steps with THREADS threads."""
    import torch
    from torch.nn import functional as F

    from rolekd.models import as_products, build
    from rolekd.quantize import convert
    from rolekd.train import devices

    devices.set_up("cpu", threads)
    network = build("resnet8", classes=10, channels=3, image_size=(32, 32), width=8, seed=0)
    student = convert(network, weight_bits=2, activation_bits=2).train()
    as_products(student)
    images, labels = torch.randn(128, 32, 32, 3).permute(0, 3, 1, 2), torch.arange(128) % 10
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        F.cross_entropy(student(images), labels).backward()
        seconds.append(time.perf_counter() - began)
    click.echo(f"{1000 * statistics.median(seconds):.1f}")


if __name__ == "__main__":
    run(main, "threads")
