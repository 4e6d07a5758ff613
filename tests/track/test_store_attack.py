"""The database under 1,000 starts of four processes, locked, cut and flipped: never a run fewer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("store_attack.py")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_starts_under_attack_lose_no_run() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--starts", "1000", "--seed", "13"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert counts["runs recorded and found"] > 54
    assert {name.partition(":")[0] for name in counts} >= {"cut", "flipped", "locked", "missing"}
