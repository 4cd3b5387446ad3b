"""How fast a model steps and reads, and so how much of a prompt is read between two steps. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 32  # prompt tokens below which a piece is not worth its overhead
PATIENCE = 3.5  # the longest gap that reading a prompt makes in running answers, in steps
CROWD = 4  # pieces grow with the number of waiting prompts up to so many times


@dataclass(slots=True)
class Pace:
    """How long steps and prompt tokens take, as running means; sizes the pieces that prompts are read in.

    A piece costs about a step, whatever its size, and then so much for each token.
    """

    step: float = 0.0
    token: float = 0.0

    def stepped(self, seconds: float) -> None:
        self.step = seconds if not self.step else 0.8 * self.step + 0.2 * seconds

    def read(self, tokens: int, seconds: float) -> None:
        each = max(seconds - self.step, 0.1 * seconds) / tokens
        self.token = each if not self.token else 0.7 * self.token + 0.3 * each

    def piece(self, most: int, waiting: int) -> int:
        """Prompt tokens to read before the next step of running answers, `most` if nobody else waits.

        The piece and the step after it take no longer than `PATIENCE` steps. While more prompts wait, pieces
        are longer: every gap between two tokens holds one then, and whole prompts are read at less cost.
        """
        crowd = min(1 + waiting, CROWD)
        if not self.step or not self.token:
            return most
        return max(LEAST, min(most, int((PATIENCE - 2) * self.step / self.token))) * crowd
