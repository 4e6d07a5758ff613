"""One thin script per stage of dvc.yaml: read parameters, call rolekd, write outputs."""

from rolekd import environment

environment.check()  # here, since it must come before any library is imported
