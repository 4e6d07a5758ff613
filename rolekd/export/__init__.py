"""Deployment: the integer ONNX graph, its verification and measurement.

What runs a file is here; `write.export` and `verify.verify` need PyTorch as well.
"""

from rolekd.export.session import Session, load

__all__ = ["Session", "floats", "graph", "load", "measure", "predict", "session", "verify", "write"]
