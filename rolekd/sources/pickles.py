"""Pickled batches of arrays, read without running other code that a pickle can name."""

import _codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rolekd import files
from rolekd.errors import InputError, one_line

MOST_BYTES = 2**28  # of a file; the largest official one has 155 million
# functions that rebuild an array; their module has moved between versions of numpy
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _codecs.encode,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _RECONSTRUCT),
            ("numeric", "_frombuffer", _FROM_BUFFER),
        )
    },
}
# what damaged or hostile pickles raise
_BROKEN = (
    OSError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)


class _Arrays(pickle.Unpickler):
    """An unpickler that knows only arrays."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return one of the few functions that arrays need."""
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise InputError(
                f"asks for {module_name}.{global_name}, but only plain arrays are read; "
                "use the file from its official archive"
            ) from None


def load(path: Path) -> dict[str, Any]:
    """Return a pickled dict of arrays, lists and texts; Python 2's texts are read as Latin-1.

    Raises:
        InputError: The file is damaged, or asks for anything else.
    """
    try:
        with files.open_regular(path, MOST_BYTES) as file:
            content = _Arrays(file, encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except _BROKEN as error:
        raise InputError(
            f"{path}: cannot be read ({one_line(error)}); download it again"
        ) from error
    # other keys could be nested very deeply, and hashing or printing them would take as long
    if not isinstance(content, dict) or not all(isinstance(key, str | bytes) for key in content):
        raise InputError(f"{path}: is not a dict of arrays; download it again")
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in content.items()}
