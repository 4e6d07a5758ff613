"""Deployment: the integer ONNX graph, its verification and measurement."""

from rolekd.export.session import Session, load
from rolekd.export.verify import Verification, verify
from rolekd.export.write import Summary, export

__all__ = ["Session", "Summary", "Verification", "export", "load", "verify"]
