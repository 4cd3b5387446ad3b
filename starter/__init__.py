"""The recipes that train the starter models; the application never imports them."""
