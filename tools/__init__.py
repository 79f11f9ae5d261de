"""Commands that write the project's generated files. Not installed."""
