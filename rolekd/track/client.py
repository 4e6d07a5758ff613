"""Access to MLflow's store: its address for flavours, its errors in one line."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rolekd.errors import RunError, one_line
from rolekd.secrets import redact
from rolekd.track import store

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException


@contextlib.contextmanager
def tracking(uri: str) -> Iterator[None]:
    """Point mlflow's flavours, which know no client, at `uri` while the block runs."""
    import mlflow

    # None leaves nothing behind: mlflow would put an address of its own into the environment
    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


# A store that answers, and refuses for a reason of its own: error codes of MLflow -> the remedy.
_RIGHTS = (
    "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN), and "
    "what this user may do"
)
_ROOM = "make room (delete runs, `mlflow gc`), ask for more, or try again later"
_REFUSALS = {
    **dict.fromkeys(
        ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "FEATURE_DISABLED"),
        _RIGHTS,
    ),
    **dict.fromkeys(
        (
            "QUOTA_EXCEEDED",
            "RESOURCE_LIMIT_EXCEEDED",
            "RESOURCE_EXHAUSTED",
            "REQUEST_LIMIT_EXCEEDED",
        ),
        _ROOM,
    ),
}


def remedy_of_refusal(error: BaseException) -> str | None:
    """Return the remedy for missing rights or space in MLflow; None: it is another error."""
    return _REFUSALS.get(getattr(error, "error_code", ""))


def _remedy(error: "MlflowException", uri: str) -> str:
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return "`make ui` shows what there is"
    if "mlflow db upgrade" in str(error):
        return f"put a copy of it aside, then run `mlflow db upgrade {redact(uri)}`"
    return remedy_of_refusal(error) or "check the store and run again"


@contextlib.contextmanager
def reachable(uri: str, *, unchanged: bool = False) -> Iterator[None]:
    """Turn MLflow's errors into one line that names the store.

    With `unchanged` one that was moved is left as it is.
    """
    from mlflow.exceptions import MlflowException

    try:
        (store.make if unchanged else store.initialise)(uri)
        yield
    except MlflowException as error:
        raise RunError(
            f"MLflow at {redact(uri)}: {redact(one_line(error, 300))}; {_remedy(error, uri)}"
        ) from error
