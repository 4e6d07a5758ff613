"""Which nodes of a file take the most time? The median of each, by kind, on one thread.

python results/deploy/nodes.py FILE.onnx [BATCH]
"""

import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime

RUNS = 60
_SUFFIX = "_kernel_time"


def main(path: str, batch: int = 8) -> None:
    """Print microseconds and share of each kind of node."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/nodes"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        shape = (batch, *session.get_inputs()[0].shape[1:])
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for _ in range(RUNS):
            session.run(None, {"image": images})
        events = json.loads(Path(session.end_profiling()).read_text())
    times = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            times[event["args"]["op_name"], event["name"]].append(event["dur"])
    kinds: Counter[str] = Counter()
    for (kind, _), durations in times.items():
        kinds[kind] += median(durations)
    total = sum(kinds.values())
    for kind, duration in kinds.most_common():
        sys.stdout.write(f"{kind:24s}{duration:10.0f} us{100 * duration / total:7.1f} %\n")


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:3]))
