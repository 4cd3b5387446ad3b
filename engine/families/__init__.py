"""One module per model family; see `engine.registry` for what a family is."""
