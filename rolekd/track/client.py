"""MLflow's store for those who ask it something: its address for flavours, its errors in a line."""

import contextlib
from collections.abc import Iterator

from rolekd.errors import RunError, one_line
from rolekd.secrets import redact
from rolekd.track import store


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
        missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        remedy = "`make ui` shows what there is" if missing else "check the store and run again"
        raise RunError(
            f"MLflow at {redact(uri)}: {redact(one_line(error, 300))}; {remedy}"
        ) from error
