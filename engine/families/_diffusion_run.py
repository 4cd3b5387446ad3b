"""One pass over several pictures at once, a denoising step at a time, through any pipeline of diffusers.

A pipeline's own call is one long function. Here it runs in a greenlet: at the end of every step its callback hands
the thread back to the lane, which may serve others and then lets it go on. So any pipeline can be stepped, stopped
and batched without a loop of our own for each kind, and torch stays on the lane's one thread.
Knows tasks and a pipeline, no lane and no queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled
from engine.events import Done, Image, Progress
from engine.families._diffusion_asking import Abilities, Manner, Task, source_of
from engine.families._diffusion_preview import Denoised, Preview
from engine.recipes import Recipe, write_png

if TYPE_CHECKING:
    import torch

PREVIEW = 0.4  # seconds from one preview to the next
Row = tuple[Task, int]  # a picture: its request, and which of its pictures it is


class Stopped(BaseException):
    """Raised inside a pipeline's callback when nobody waits for its pictures any more."""


class Run:
    """A batch of pictures of one manner, on its way.

    Args:
        rows: what is drawn; each with a generator of its own, so that a seed means the same in any company.
        able: what the pipeline's class can be given.
        facts: of the model, for the recipes.
    """

    def __init__(
        self,
        pipe: Any,
        rows: Sequence[Row],
        able: Abilities,
        preview: Preview | None,
        facts: Recipe,
    ) -> None:
        from greenlet import getcurrent, greenlet

        self.rows = list(rows)
        self.manner: Manner = rows[0][0].manner
        self.done = 0
        self.total = self.manner.steps
        self._pipe, self._able, self._preview, self._facts = pipe, able, preview, facts
        self._latents: torch.Tensor | None = None
        self._denoised = Denoised(pipe.scheduler)
        self._shown = time.monotonic()
        self._pictures: list[Any] = []
        self._lane = getcurrent()
        self._work = greenlet(self._draw)

    @property
    def tasks(self) -> list[Task]:
        """Those who still wait for a picture of it."""
        return list(dict.fromkeys(task for task, _ in self.rows if task is not _NOBODY))

    @property
    def over(self) -> bool:
        return bool(self._work.dead)

    def advance(self) -> None:
        """Go on to the end of the next step, or of the next picture's decoding. Raises what the pipeline raises."""
        before = self.done
        self._switch(self._work.switch)
        pixels = self.manner.width * self.manner.height / 1e6
        for task, _ in self.rows:
            if task is not _NOBODY and self.done > before:
                task.emit.count(megapixel_steps=pixels * (self.done - before))

    def abort(self) -> None:
        """End it where it stands; its pipeline gives back what it holds on the way out."""
        if not self._work.dead:
            self._switch(lambda: self._work.throw(Stopped))

    def _switch(self, enter: Callable[[], Any]) -> None:
        # Whether gradients are kept is a state of the thread, which the pipeline's own decorator would leave behind.
        import torch

        kept = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            enter()
        except Stopped:
            pass
        finally:
            torch.set_grad_enabled(kept)

    def tell(self, gone: Callable[[Task], None]) -> None:
        """Say how far it is to all who wait; `gone` is called for those who do not any more."""
        glimpses = 0 < self.done < self.total and time.monotonic() - self._shown >= PREVIEW
        for task in self.tasks:
            seen = self._glimpse(task) if glimpses and task.request.preview else None
            total = self.total * self._passes(task)
            try:
                task.emit(Progress(task.begun + self.done, total, seen) if self.done else None)
            except Cancelled:
                gone(task)
        if glimpses:
            self._shown = time.monotonic()

    def _passes(self, task: Task) -> int:
        """How many passes a request takes that has more pictures than one pass."""
        mine = max(1, sum(1 for one, _ in self.rows if one is task))
        left = len(task.seeds) - task.told
        earlier = task.begun // self.total if self.total else 0
        return earlier + -(-left // mine)

    def _glimpse(self, task: Task) -> bytes | None:
        seen = self._denoised.latents if self._denoised.latents is not None else self._latents
        index = next(n for n, (one, _) in enumerate(self.rows) if one is task)
        if self._preview is None or seen is None or index >= seen.shape[0]:
            return None
        width, height = self.manner.width, self.manner.height
        return self._preview.draw(self._pipe, seen[index : index + 1], width, height)

    def drop(self, task: Task) -> None:
        """One request's pictures are not wanted any more; the others' go on."""
        self.rows = [(one if one is not task else _NOBODY, n) for one, n in self.rows]

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for a picture of it."""
        return bool(self.tasks)

    def deliver(self, gone: Callable[[Task], None]) -> None:
        """The finished pictures to those who asked, and Done where it was a request's last."""
        for (task, number), picture in zip(self.rows, self._pictures, strict=True):
            if task is _NOBODY:
                continue
            data = write_png(picture, self._recipe(task, number))
            task.told += 1
            task.emit.count(images=1)
            try:
                task.emit(
                    Image(
                        data,
                        "image/png",
                        task.seeds[number],
                        picture.width,
                        picture.height,
                        task.note,
                    )
                )
                if task.over:
                    task.emit(Done())
            except Cancelled:
                gone(task)
        for task in self.tasks:
            task.begun += self.total

    def _recipe(self, task: Task, number: int) -> Recipe:
        request, manner = task.request, self.manner
        recipe: Recipe = {
            "prompt": request.prompt,
            "negative": request.negative,
            "width": manner.width,
            "height": manner.height,
            "steps": manner.steps,
            "guidance": manner.guidance,
            "seed": task.seeds[number],
            "scheduler": manner.scheduler,
            "mode": manner.mode,
            "loras": [[lora.name, lora.scale] for lora in manner.loras],
            **self._facts,
        }
        if manner.mode != "text":
            recipe |= {"strength": manner.strength, "source": source_of(request.image)}
        return recipe

    # Inside the greenlet

    def pause(self) -> None:
        """Hand the thread back to the lane; on the pipeline's side only."""
        from greenlet import getcurrent

        if getcurrent() is self._work:
            self._lane.switch()

    def _draw(self) -> None:
        try:
            self._pictures = list(self._pipe(**self._arguments()).images)
        finally:
            self._latents = self._denoised.latents = None
            self._pipe.maybe_free_model_hooks()

    def _stepped(self, pipe: Any, index: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        self._latents = values.get("latents")
        self.total = int(getattr(pipe, "num_timesteps", 0) or self.total)
        self.done = min(index + 1, self.total)
        self.pause()
        return {}

    def _arguments(self) -> dict[str, Any]:
        import inspect

        import torch

        manner, rows = self.manner, self.rows
        requests = [task.request for task, _ in rows]
        given: dict[str, Any] = {
            "prompt": [request.prompt for request in requests],
            "width": manner.width,
            "height": manner.height,
            "num_inference_steps": manner.steps,
            self._able.guides: manner.guidance,
            "generator": [
                torch.Generator("cpu").manual_seed(task.seeds[number]) for task, number in rows
            ],
            "callback_on_step_end": self._stepped,
            "callback_on_step_end_tensor_inputs": ["latents"],
            "output_type": "pil",
        }
        if manner.negative:
            given["negative_prompt"] = [request.negative for request in requests]
        elif self._able.guides == "true_cfg_scale" and manner.guidance > 1:
            given["negative_prompt"] = [" "] * len(rows)
        if manner.mode != "text":
            given |= {"image": [task.image for task, _ in rows], "strength": manner.strength}
        if manner.mode == "mask":
            given["mask_image"] = [task.mask for task, _ in rows]
        names = inspect.signature(type(self._pipe).__call__).parameters
        return {name: value for name, value in given.items() if name in names}


_NOBODY: Any = object()  # stands for a request whose pictures are not wanted any more
