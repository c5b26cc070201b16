"""A run's folder: whether it begins, goes on or is over, its lock, its checkpoints."""
