"""One file per tab: `TITLE` (a key of the texts), `ORDER`, `NEEDS` (a capability or None), `build(engine)`."""
