"""Those who own workers; `base` is their contract."""
