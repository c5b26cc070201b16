"""A table of methods over seeds: many runs, one comparison."""
