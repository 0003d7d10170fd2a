"""What runs in a session's own process: standard library only, Python 3.9 or later."""
