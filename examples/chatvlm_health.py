"""What the server says of itself through the ChatVLM dialect: state, catalog, what is loaded.

pip install requests
python chatvlm_health.py
"""

from __future__ import annotations

import os

import requests

URL = os.environ.get("ATELIER_URL", "http://127.0.0.1:7860")
HEADERS = {"Authorization": f"Bearer {os.environ.get('ATELIER_TOKEN', 'none')}"}


def main() -> None:
    about = requests.get(f"{URL}/", headers=HEADERS, timeout=10).json()
    health = requests.get(f"{URL}/health", headers=HEADERS, timeout=10).json()
    models = requests.get(f"{URL}/models", headers=HEADERS, timeout=10).json()
    print(f"{about['message']} (version {about['version']}), {health['status']}")
    print(f"GPU: {health['gpu_name'] if health['gpu_available'] else 'none'}")
    for model in models["available"]:
        state = "loaded" if model["id"] in models["loaded"] else "not loaded"
        print(f"- {model['id']}: {model['params'] or 'size unknown'}, {state}")


if __name__ == "__main__":
    main()
