"""The command line. `main` parses; every command is a module of its own, loaded when it is called."""
