"""The OpenAI dialect: its paths, its errors, and the routers of its endpoints."""

from __future__ import annotations

from fastapi import APIRouter

from routers import (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_models,
    openai_speech,
    openai_transcriptions,
)
from routers.openai_parts import error

PATHS = (
    "/v1/models",
    "/v1/chat/",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/",
    "/v1/audio/",
)
router = APIRouter()
for endpoint in (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_models,
    openai_speech,
    openai_transcriptions,
):
    router.include_router(endpoint.router)

__all__ = ["PATHS", "error", "router"]
