"""Functions compiled by numba that processes share: the first one compiles, the disk keeps it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inner(**options: Any) -> Callable[[_Function], _Function]:
    """Return a decorator that compiles what entry points call.

    It leaves out the wrappers for Python, which take half of the time to compile.
    """

    def compiled(function: _Function) -> _Function:
        made = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
        return cast(_Function, made)

    return compiled


def entry(
    signature: Any, *modules: ModuleType, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles an entry point, or loads it from the disk.

    numba's key is the function's file; the name adds the other files that are compiled in. A
    damaged entry is removed and made anew. Where no cache can be written, the function is compiled
    in every process.

    Args:
        signature: numba's, of the one form that is compiled.
        modules: Whose functions are compiled in.
        options: Of `numba.njit`.
    """
    sources = b"".join(Path(module.__file__).read_bytes() for module in modules if module.__file__)
    label = f"_{hashlib.sha256(sources).hexdigest()[:16]}" if modules else ""

    def compiled(function: Callable[..., Any]) -> Any:
        function.__qualname__ += label
        try:
            kernel = numba.njit(cache=True, **options)(function)
            try:
                kernel.compile(signature)
            except Exception:  # numba unpickles what lies there: a damaged file raises anything
                for path in Path(kernel.stats.cache_path).glob(f"*{function.__qualname__}*"):
                    path.unlink(missing_ok=True)
                kernel.compile(signature)
            kernel.disable_compile()
        except (OSError, RuntimeError):
            return numba.njit(signature, **options)(function)
        return kernel

    return compiled
