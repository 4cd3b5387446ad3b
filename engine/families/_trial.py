"""Whether many texts can be advanced in one pass of a model: tried at loading, on texts and on a picture.

Knows runners and tensors; nothing of requests.
"""

from __future__ import annotations

import logging
from typing import Any

from engine.families._seeing import Sight
from engine.families._slots import Reading, Slots, Solo
from engine.faults import is_out_of_memory

log = logging.getLogger("atelier.hf_chat")


def choose_runner(model: Any, parallel: int, sight: Sight | None = None) -> Slots | Solo:
    """`Slots` where the model's cache is plain and a trial agrees with the model's own way, else `Solo`.

    Args:
        sight: a prompt with a picture to try, where the model sees.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    try:
        layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
        if all(type(layer) in plain for layer in layers) and agrees(model, sight):
            return Slots(model, parallel)
    # A model's forward may fail in any way on a cache it does not expect; then it keeps its own.
    except (
        AttributeError,
        IndexError,
        KeyError,
        NotImplementedError,
        TypeError,
        ValueError,
    ) as error:
        log.info("no batching: %s", error)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        log.info("no batching: %s", error)
    return Solo(model)


def agrees(model: Any, sight: Sight | None = None) -> bool:
    """Whether batched answers equal the model's own, tried on two short texts of unlike lengths, and a picture."""
    import torch

    size = model.config.get_text_config(decoder=True).vocab_size
    texts = [[(7 * n + 11) % size for n in range(count)] for count in (9, 4)]
    slots, logits = Slots(model, 3), []
    readings = [Reading([text], plan=len(text) + 2) for text in texts]
    if sight is not None:  # between the texts: its row gives its positions to no other
        readings.insert(1, Reading([sight.ids], plan=len(sight.ids) + 2, sight=sight))
    tokens = [token % size for token in (3, 7, 5)[: len(readings)]]
    for reading in readings:
        while slots.read(reading, budget=max(6, reading.total // 3)) is None:
            pass
        slots.admit(reading)
    after = slots.advance(tokens).float()
    for reading, token in zip(readings, tokens, strict=True):
        logits.append(_own(model, reading, token))
    own = torch.cat(logits).float()
    far = (after - own).norm() / own.norm().clamp_min(1e-9)
    limit = 2e-3 if model.dtype == torch.float32 else 0.15
    log.debug("batched and own answers differ by %.2g of %.2g", float(far), limit)
    return bool(far <= limit)


def _own(model: Any, tried: Reading, token: int) -> Any:
    """The model's own logits after the text and one more token."""
    (text,) = tried.texts
    solo = Solo(model)
    reading = Reading([text], plan=len(text) + 1, sight=tried.sight)
    solo.read(reading, 0)
    solo.admit(reading)
    return solo.advance([token])
