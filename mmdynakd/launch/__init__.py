"""One run: its config read, its processes joined, its Runner built, begun and finished."""
