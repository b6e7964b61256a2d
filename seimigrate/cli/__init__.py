"""The command line: it parses arguments, composes the application, and returns an exit code."""
