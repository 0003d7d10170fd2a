"""`nrepl-py lsp`: a live session for every editor that speaks the Language Server Protocol."""
