"""Images: sources, splits, batches."""
