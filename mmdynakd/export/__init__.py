"""A trained student for other programs; nothing of its teachers."""
