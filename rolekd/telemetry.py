"""Usage data stay here: the switches of every dependency that would send some.

This list is the only one; the Makefile and the documentation are checked against it. The package
sets it when it is imported, before any of those libraries is. Whoever deploys a model without
rolekd sets it there: docs/serve.md.
"""

import os

OFF = {
    # read when onnxruntime loads; else it writes a device id below HOME and looks up a host
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",  # what DVC and its plug-ins share
    "DO_NOT_TRACK": "true",  # the common one; "true" is what MLflow takes
    "HF_HUB_DISABLE_TELEMETRY": "1",  # comes with timm, where that is installed
}


def switch_off() -> None:
    """Set the switches in this process and its children; one that is set stays as it is."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
