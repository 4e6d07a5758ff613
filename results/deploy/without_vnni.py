"""Does an exported file give the same results on a processor with other 8-bit kernels?

    python results/deploy/without_vnni.py FILE.onnx DATA REFERENCE.npz

DATA is a folder of prepared data. The first call writes the logits of all test images, later calls
compare theirs with them. Under QEMU (Debian's qemu-user) onnxruntime sees the processor that is
named, here one with AVX2 but neither AVX512 nor VNNI:

    qemu-x86_64 -cpu Haswell .venv/bin/python results/deploy/without_vnni.py ...

It needs only numpy and onnxruntime.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

_BATCH = 30


def main() -> None:
    """Write the reference, or compare with it."""
    file, data, reference = (Path(argument) for argument in sys.argv[1:4])
    images = np.load(data / "images.npy", mmap_mode="r")[np.load(data / "test.npy")]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    logits = np.concatenate(
        [
            session.run(["logits"], {"image": images[start : start + _BATCH]})[0]
            for start in range(0, len(images), _BATCH)
        ]
    )
    if not reference.exists():
        np.savez(reference, logits=logits)
        print(f"{reference}: logits of {len(logits)} images")  # noqa: T201
        return
    native = np.load(reference)["logits"]
    equal = int((native.argmax(1) == logits.argmax(1)).sum())
    same = int((native == logits).all(1).sum())
    print(  # noqa: T201
        f"{equal} of {len(logits)} classes equal, all logits to the last bit on {same} images, "
        f"largest difference {np.abs(native - logits).max():.3g} in a range of "
        f"{np.ptp(native):.3g}"
    )


if __name__ == "__main__":
    main()
