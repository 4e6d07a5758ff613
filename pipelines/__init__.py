"""One thin script per stage of dvc.yaml: read parameters, call rolekd, write outputs."""
