"""Many runs and what they make together: methods over seeds in one table, and the demo.

Not here: how one run starts (``launch``) and how the students of one search are made and chosen
(``evaluation``).
"""
