"""The stages of the pipeline: one function each; `stage` opens them."""
