"""Answers about code and live objects, given beside what a worker evaluates: standard library only, and lent jedi."""
