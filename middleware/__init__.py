"""What every request passes before a router sees it: pure ASGI classes, one noun per file.

They know the paths' shape and the engine's errors, never a model. `app.py` lists them in order.
"""
