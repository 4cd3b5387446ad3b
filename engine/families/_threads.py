"""How many processor threads a model's arithmetic uses, kept apart for models that take turns on one thread."""

from __future__ import annotations

SMALL = 50_000_000  # parameters below which threads wait for each other longer than they work


class Threads:
    """The number of threads that was set when the model was loaded."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        import torch

        self._count = torch.get_num_threads()

    def use(self) -> None:
        """Set it again, should another model have changed it; on the lane's thread."""
        import torch

        if torch.get_num_threads() != self._count:
            torch.set_num_threads(self._count)
