"""The command line: arguments in, one call out. What a command does is in the other rooms."""
