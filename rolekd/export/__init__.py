"""Deployment: the integer ONNX graph, its verification and measurement."""
