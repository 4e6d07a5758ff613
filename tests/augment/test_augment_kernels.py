"""The cache of the compiled kernels: what is damaged is compiled anew."""

import runpy
from pathlib import Path

import pytest

TRIVIAL = """
from rolekd.augment import kernels
@kernels._entry
def trivial(images, out, start, stop, seed, a, b, c, d, e, fill, padding, flip, cutout):
    out[0, 0, 0, 0] = 7
"""


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_entry_is_removed_and_made_anew(tmp_path: Path, suffix: str) -> None:
    script = tmp_path / "trivial.py"
    script.write_text(TRIVIAL)

    def hits() -> int:
        return sum(runpy.run_path(str(script))["trivial"].stats.cache_hits.values())

    assert hits() == 0
    assert hits() == 1
    (kept,) = tmp_path.rglob(f"*.{suffix}")
    kept.write_bytes(kept.read_bytes()[:-50])
    assert hits() == 0
    assert hits() == 1
