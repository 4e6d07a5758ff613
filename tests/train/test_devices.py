"""What a process is given before it trains."""

import subprocess
import sys

import pytest
import torch

from rolekd.train import devices

# page faults of twenty tensors of 40 MB, written and freed one after another
_FAULTS = """
import resource
import torch
from rolekd.train import devices

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

cold = faults()
assert devices.set_up("cpu", 1) == torch.device("cpu")
assert torch.get_num_threads() == 1
faults()  # the heap grows to what is needed
print(cold, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other allocators")
def test_freed_memory_is_used_again_without_the_system():
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True
    )
    cold, warm = map(int, done.stdout.split())
    assert cold > 1000  # else there is nothing to win here: drop `keep_memory`
    assert warm < cold / 10


@pytest.mark.parametrize(
    ("kind", "precision", "half"),
    [
        ("cpu", "auto", False),
        ("cpu", "float32", False),
        ("cpu", "bfloat16", True),
        ("cuda", "auto", True),
        ("cuda", "float32", False),
    ],
)
@pytest.mark.filterwarnings("ignore:User provided device_type")
def test_auto_precision_is_bfloat16_on_a_gpu(kind, precision, half):
    found = devices.autocast(torch.device(kind), precision)
    assert isinstance(found, torch.autocast) == half
    if half:
        assert found.fast_dtype is torch.bfloat16
