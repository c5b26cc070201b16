"""A run's folder: whether its run begins, goes on or is over, its lock, its checkpoints.

Nothing here builds or trains a model, and nothing here knows of lanes or candidates.
"""
