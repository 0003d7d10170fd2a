"""What arbitrary bytes must never do, as functions of bytes: run over a corpus by pytest, and searched by atheris."""
