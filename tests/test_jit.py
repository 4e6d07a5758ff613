"""The cache of compiled functions: what is damaged is compiled anew."""

import subprocess
import sys
from pathlib import Path

import pytest

TRIVIAL = """
import numba
from rolekd import jit
@jit.entry(numba.void(numba.float32[::1]), jit, nogil=True)
def trivial(out):
    out[0] = 7
"""

COUNT = """
import runpy, sys
print(sum(runpy.run_path(sys.argv[1])["trivial"].stats.cache_hits.values()))
"""


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_entry_is_removed_and_made_anew(tmp_path: Path, suffix: str) -> None:
    script = tmp_path / "trivial.py"
    script.write_text(TRIVIAL)

    def hits() -> int:
        # in a process of its own: numba refuses to compile where its threads have been started
        # and the number of cores has changed since
        command = [sys.executable, "-c", COUNT, str(script)]
        return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    assert hits() == 0
    assert hits() == 1
    (kept,) = tmp_path.rglob(f"*.{suffix}")
    kept.write_bytes(kept.read_bytes()[:-50])
    assert hits() == 0
    assert hits() == 1
