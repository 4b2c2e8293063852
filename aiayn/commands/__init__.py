"""The verbs of the command line: arguments, help text and code of each in one place."""
