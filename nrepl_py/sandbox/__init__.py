"""What confines a session on Linux, in the process that becomes it: standard library only, Python 3.9 or later."""
