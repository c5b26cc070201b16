"""What is wrong, in words: mistakes, unknown keys, checks of teachers and of determinism."""
