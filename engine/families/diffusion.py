"""Pictures from words, from pictures and under masks, by any pipeline of diffusers; queued prompts are drawn together.

Owns who is drawn with whom and what happens when memory is short. A pass is in `_diffusion_run`.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.checkpoints import find_checkpoint
from engine.errors import AtelierError, BackendDied, Cancelled, GenerationFailed, Unavailable
from engine.families._diffusion_asking import Abilities, Manner, Task, make_task
from engine.families._diffusion_extras import Adapters, check_loras, find_loras, make_scheduler
from engine.families._diffusion_loading import core_of, load_pipeline, parts_of, sibling
from engine.families._diffusion_preview import Preview, find_preview
from engine.families._diffusion_run import Row, Run
from engine.families._quantising import bytes_held
from engine.families._threads import Threads
from engine.faults import is_out_of_memory
from engine.recipes import Recipe
from engine.registry import BatchEmit, ModelSpec
from engine.requests import ImageRequest, Request
from engine.settings import Settings

SPECS: tuple[ModelSpec, ...] = ()
QUANTISES = True
TOGETHER = 8  # pictures that are drawn in one pass, unless the row says otherwise
QUIET = 0.004  # seconds without a newcomer after which a pass begins …
PATIENCE = 0.03  # … and the most it waits for company
LORAS = "loras"  # the folder of the data folder that they lie in
log = logging.getLogger("atelier.diffusion")


def load(spec: ModelSpec, settings: Settings) -> Diffusion:
    """The pipeline of `spec`, ready. Errors: see `load_pipeline` and `find_checkpoint`."""
    folder = settings.data_dir / LORAS
    pack = not find_loras(folder)
    pipe = load_pipeline(find_checkpoint(spec), spec, settings, pack)
    return Diffusion(spec, pipe, folder, packed=pack)


class Diffusion:
    """A loaded pipeline: a `Batcher` whose step is a denoising step of all pictures that are under way.

    Requests that ask for the same size, steps, guidance, scheduler and LoRAs are drawn in one pass; what comes
    later waits for the next one. A request with more pictures than fit takes several.
    """

    def __init__(self, spec: ModelSpec, pipe: Any, loras: Path, packed: bool) -> None:
        self.spec = spec
        self.parallel = max(1, int(spec.options.get("parallel") or TOGETHER))
        self._pipes: dict[str, Any] = {"text": pipe}
        self._able = Abilities.of(pipe, spec)
        self._own = pipe.scheduler
        self._adapters = Adapters(loras)
        self._loras = loras
        self._packed = packed and any(
            hasattr(module, "packed_bytes")
            for _, part in parts_of(pipe)
            for module in part.modules()
        )
        self._most = {
            0: self.parallel
        }  # pictures in one pass, by their pixels, where memory was short
        self._thrifty = False
        self._waiting: list[Task] = []
        self._came = self._asked = 0.0
        self._run: Run | None = None
        self._before = 0  # bytes on the device when the pass began
        self._threads = Threads()
        self._preview: Preview | None = find_preview(pipe, spec)
        self._weights = sum(bytes_held(part) for _, part in parts_of(pipe))
        self._watch_decoding(pipe)

    def memory(self) -> int:
        """Bytes of the weights and, where the device tells, of what drawing takes beside them just now."""
        import torch

        if not self._pipes:
            return 0
        drawing = self._run is not None and torch.cuda.is_available()
        extra = torch.cuda.max_memory_allocated() - self._before if drawing else 0
        return self._weights + max(0, extra)

    def close(self) -> None:
        """Give all memory back."""
        import torch

        if self._run is not None:
            self._run.abort()
        self._run = None
        self._pipes.clear()
        self._waiting.clear()
        self._own = self._preview = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # What the lane calls

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a request in. Raises BadValue, Unknown: it can never be drawn."""
        assert isinstance(request, ImageRequest)
        if request.loras:
            check_loras(self._loras, request.loras)
            if self._packed:  # loaded anew, it finds LoRAs and leaves its layers as they were
                raise BackendDied("The model is loaded anew to take a LoRA.", retry_after=1)
        make_scheduler(self._own, request.scheduler)
        task = make_task(request, emit, self._pipes["text"], self._able, self.spec)
        self._came = time.monotonic()
        if not self._waiting:
            self._asked = self._came
        self._waiting.append(task)

    def step(self) -> None:
        """A denoising step of the pass that runs, else the beginning of the next."""
        self._threads.use()
        self._forget_gone()
        if self._run is None:
            if not self._waiting or not self._gathered():
                return
            self._run = self._begin()
        run = self._run
        if run is None:
            return
        try:
            run.advance()
        # One request may break a pipeline in any way; it must not break the others.
        except Exception as error:
            self._run = None
            self._recover(run, error)
            return
        if run.over:
            self._run = None
            run.deliver(self.forget)
            self._waiting[:0] = [task for task in run.tasks if not task.over]
        else:
            run.tell(self.forget)
            self._end_unwanted()

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`, if it is still there."""
        for task in [*self._waiting, *self._drawn()]:
            if task.emit is emit:
                self.forget(task)
        self._end_unwanted()

    # Who is drawn with whom

    def forget(self, task: Task) -> None:
        """A request is over or gone."""
        task.told = len(task.seeds)
        if task in self._waiting:
            self._waiting.remove(task)
        if self._run is not None:
            self._run.drop(task)

    def _drawn(self) -> Iterable[Task]:
        return self._run.tasks if self._run is not None else []

    def _forget_gone(self) -> None:
        for task in list(self._waiting):
            try:
                task.emit(None)
            except Cancelled:
                self.forget(task)

    def _end_unwanted(self) -> None:
        if self._run is not None and not self._run.wanted:
            run, self._run = self._run, None
            run.abort()

    def _gathered(self) -> bool:
        """Whether the next pass may begin: nobody came for a moment, or it is full."""
        now = time.monotonic()
        pictures = sum(len(task.seeds) - task.told for task in self._waiting)
        if pictures >= self.parallel or now - self._came >= QUIET or now - self._asked >= PATIENCE:
            return True
        time.sleep(QUIET / 4)
        return False

    def _begin(self) -> Run | None:
        """The next pass: the oldest request and all that can be drawn with it."""
        first = self._waiting[0]
        room = self._room(first.manner)
        rows: list[Row] = []
        for task in [one for one in self._waiting if one.manner == first.manner]:
            mine = range(task.told, len(task.seeds))[: room - len(rows)]
            rows += [(task, number) for number in mine]
            if mine:
                self._waiting.remove(task)
        try:
            pipe = self._prepared(first.manner)
            self._mark()
            return Run(pipe, rows, self._able, self._preview, self._facts())
        except AtelierError as error:
            for task in dict.fromkeys(task for task, _ in rows):
                self.forget(task)
                task.emit.fail(error)
            return None

    def _mark(self) -> None:
        """Begin to measure what a pass takes; only NVIDIA's devices tell."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()

    def _room(self, manner: Manner) -> int:
        pixels = manner.width * manner.height
        return min((most for size, most in self._most.items() if size <= pixels), default=1)

    def _prepared(self, manner: Manner) -> Any:
        """The pipeline of this mode with a fresh scheduler and the LoRAs that count."""
        pipe = self._pipes.get(manner.mode)
        if pipe is None:
            pipe = sibling(self._pipes["text"], self._able.kinds[manner.mode])
            self._pipes[manner.mode] = pipe
        self._adapters.use(self._pipes["text"], manner.loras)
        pipe.scheduler = make_scheduler(self._own, manner.scheduler)
        return pipe

    def _facts(self) -> Recipe:
        dtype = str(core_of(self._pipes["text"]).dtype).removeprefix("torch.")
        named = type(self._pipes["text"].scheduler).__name__
        facts: Recipe = {"model": self.spec.id, "revision": self.spec.revision, "dtype": dtype}
        return {**facts, "made": f"Atelier, {named}"}

    # When it goes wrong

    def _recover(self, run: Run, error: Exception) -> None:
        """Draw less at once where memory was short, each by itself where one broke the others, else tell them."""
        tasks = run.tasks
        full = is_out_of_memory(error)
        log.warning(
            "%s: a pass of %d failed (%s)", self.spec.id, len(run.rows), type(error).__name__
        )
        if full:
            self._make_room()
            if len(run.rows) > 1 or not self._thrifty:
                self._draw_less(run)
                self._waiting[:0] = tasks
                return
            error = Unavailable(
                f"The device has too little memory free for {run.manner.width}x{run.manner.height} pixels. Ask for a "
                "smaller picture, or unload other models.",
                retry_after=30,
            )
        elif len(tasks) > 1:
            for number, task in enumerate(tasks, 1):
                task.manner = replace(task.manner, alone=number)
            self._waiting[:0] = tasks
            return
        elif not isinstance(error, AtelierError):
            log.error("%s failed", self.spec.id, exc_info=error)
            error = GenerationFailed(
                f"{self.spec.id} failed while it drew ({type(error).__name__}). The server's log says why; try again, "
                "or with other settings."
            )
        for task in tasks:
            self.forget(task)
            task.emit.fail(error)

    def _draw_less(self, run: Run) -> None:
        """The next try is smaller: half as many pictures, or the last ones in pieces."""
        pixels = run.manner.width * run.manner.height
        if len(run.rows) > 1:
            self._most[pixels] = max(1, len(run.rows) // 2)
            return
        self._thrifty = True
        for pipe in self._pipes.values():
            if hasattr(pipe, "enable_attention_slicing"):
                pipe.enable_attention_slicing()
        vae = getattr(self._pipes["text"], "vae", None)
        if vae is not None and hasattr(vae, "enable_tiling"):
            vae.enable_tiling()

    def _make_room(self) -> None:
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _watch_decoding(self, pipe: Any) -> None:
        """Decode one picture at a time: together they are slower and take more memory; and between two of them
        others have their turn."""
        vae = getattr(pipe, "vae", None)
        if vae is None or not hasattr(vae, "decode"):
            return
        inner = vae.decode

        def decode(latents: Any, *args: Any, **more: Any) -> Any:
            import torch

            whole = more.pop("return_dict", True)
            pieces = []
            for n in range(latents.shape[0]):
                if n and self._run is not None:
                    self._run.pause()
                pieces.append(inner(latents[n : n + 1], *args, return_dict=False, **more)[0])
            sample = torch.cat(pieces)
            return _Decoded(sample) if whole else (sample,)

        vae.decode = decode


class _Decoded(tuple[Any]):
    """What an autoencoder answers, for callers that want it by name."""

    __slots__ = ()

    def __new__(cls, sample: Any) -> _Decoded:
        return super().__new__(cls, (sample,))

    @property
    def sample(self) -> Any:
        return self[0]
