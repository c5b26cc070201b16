"""Starting one run: its config read, its processes joined, its Runner built, begun and finished.

What happens inside the Runner belongs in ``engine``; what several runs make together belongs in
``evaluation`` and ``study``.
"""
