"""Where independent runs are done: an executor starts commands and says which have ended."""
