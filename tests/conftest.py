import rolekd  # noqa: F401  its switches must be set before a test imports onnxruntime

pytest_plugins = ["shared_fixtures"]
