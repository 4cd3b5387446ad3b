"""The names, labels and bounds of all that Prometheus reads. Knows nothing else.

Labels are few by design: routes are templates, models are the catalog's, codes are our own.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["livemax", "livesum", "livemostrecent"]

PEAK = "other"  # the model label of those beyond the bound
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LOADS = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)
LAGS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

# The ledger's measures and what their unit is called here.
UNITS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "audio_s": "audio_seconds",
    "characters": "characters",
    "pages": "pages",
    "images": "images",
    "megapixel_steps": "megapixel_steps",
}
# How the residency's reasons begin, and their label; at the server's stop nothing is evicted.
REASONS = {
    "room for": "room",
    "unused for": "unused",
    "evicted": "asked",
    "memory ran out": "memory",
    "it failed": "failed",
    "the server stops": "stop",
}

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "atelier_http_requests_total": ("HTTP requests answered.", ("method", "route", "status")),
    "atelier_inference_requests_total": ("Inferences that ended.", ("task", "model", "status")),
    "atelier_usage_total": (
        "Natural units used: tokens, audio seconds, characters, pages, images, megapixel-steps.",
        ("model", "unit"),
    ),
    "atelier_device_seconds_total": ("Seconds that requests were worked on.", ("task", "model")),
    "atelier_model_loads_total": ("Loadings of models.", ("model", "outcome")),
    "atelier_model_evictions_total": ("Models that left the memory.", ("model", "reason")),
    "atelier_errors_total": ("Failures by code.", ("code",)),
    "atelier_log_records_total": ("Warnings and errors logged.", ("level",)),
}
HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "atelier_http_request_duration_seconds": (
        "Until the whole answer was sent.",
        ("method", "route", "status"),
        WAITS,
    ),
    "atelier_inference_duration_seconds": (
        "From asking to the end, waiting and loading included.",
        ("task", "model"),
        WAITS,
    ),
    "atelier_inference_queued_seconds": ("Waiting for a device.", ("task",), WAITS),
    "atelier_inference_first_content_seconds": (
        "From the start of work to its first content.",
        ("task", "model"),
        WAITS,
    ),
    "atelier_model_load_seconds": ("Loading a model.", ("model",), LOADS),
    "atelier_event_loop_stall_seconds": (
        "The longest the event loop kept somebody waiting in each two seconds.",
        (),
        LAGS,
    ),
}
# The last is how the values of several processes are put together.
GAUGES: dict[str, tuple[str, tuple[str, ...], Mode]] = {
    "atelier_build_info": ("The version that runs.", ("version",), "livemax"),
    "atelier_queue_waiting": ("Requests that wait.", ("device",), "livesum"),
    "atelier_queue_running": ("Requests that are worked on.", ("device",), "livesum"),
    "atelier_device_memory_bytes": (
        "Memory of a device: all of it, what is used, and what models may hold.",
        ("device", "kind"),
        "livemax",
    ),
    "atelier_models_memory_bytes": ("What models hold together.", ("device",), "livesum"),
    "atelier_models_resident": ("Models in memory.", ("device",), "livesum"),
    "atelier_model_memory_bytes": (
        "What a model in memory holds.",
        ("device", "model"),
        "livesum",
    ),
    "atelier_cpu_percent": ("Of all cores together.", (), "livemostrecent"),
    "atelier_memory_total_bytes": ("The machine's or the container's.", (), "livemostrecent"),
    "atelier_memory_available_bytes": ("What programs may still take.", (), "livemostrecent"),
    "atelier_disk_total_bytes": ("Of the data folder's disk.", (), "livemostrecent"),
    "atelier_disk_free_bytes": ("Of the data folder's disk.", (), "livemostrecent"),
    "atelier_process_memory_bytes": ("Resident memory of the servers.", (), "livesum"),
    "atelier_process_open_files": ("Open files of the servers.", (), "livesum"),
    "atelier_event_loop_lag_seconds": (
        "The longest the event loop kept somebody waiting of late.",
        (),
        "livemax",
    ),
    "atelier_gpu_memory_used_bytes": ("Of a GPU.", ("gpu",), "livemostrecent"),
    "atelier_gpu_memory_total_bytes": ("Of a GPU.", ("gpu",), "livemostrecent"),
    "atelier_gpu_utilization_percent": ("Of a GPU.", ("gpu",), "livemostrecent"),
    "atelier_gpu_temperature_celsius": ("Of a GPU.", ("gpu",), "livemostrecent"),
    "atelier_gpu_power_watts": ("Of a GPU.", ("gpu",), "livemostrecent"),
}
NAMES = frozenset({*COUNTERS, *HISTOGRAMS, *GAUGES})
