"""The command line: it reads words, puts the parts together, and turns how it ended into an exit code."""
