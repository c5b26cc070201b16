"""The command line: arguments in, one call out. What a command does lies in the other rooms.

Nothing heavy is imported before the arguments are parsed, so that ``--help`` answers at once.
"""
