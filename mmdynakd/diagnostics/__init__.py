"""What is wrong, in words: mistakes, unknown keys, checks of teachers and of determinism.

Nothing here is part of a training step, and nothing here mends what it finds.
"""
