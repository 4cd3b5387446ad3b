"""What this server is doing and what was used: the machine, the queue, sums by model, the rows as CSV.

    python examples/monitor_usage.py

ATELIER_URL, and ATELIER_TOKEN where one is set, come from the environment.
"""

import csv
import io
import os

import httpx

token = os.environ.get("ATELIER_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
client = httpx.Client(
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:7860"), headers=headers, timeout=60
)


def get(path: str, **query: str) -> httpx.Response:
    answer = client.get(path, params=query)
    answer.raise_for_status()
    return answer


model = os.environ.get("ATELIER_MODEL") or "starter-chat"
asked = {"agent": model, "content": "Hi", "project": "example"}
client.post("/api/v1/ai/ask_sync", json=asked).raise_for_status()

now = get("/v1/monitor/system/stats").json()
memory, disk = now["memory"]["percent"], now["disk"]["percent"]
print(f"processor {now['cpu_percent']:.0f} %, memory {memory:.0f} %, disk {disk:.0f} %")
for gpu in now["gpus"]:
    print(f"GPU {gpu['index']} {gpu['name']}: {gpu['memory']['percent']:.0f} % of its memory")
print(f"{now['queue']['running']} running, {now['queue']['waiting']} waiting")

for total in get("/api/v1/admin/usage", by="model", project="example").json():
    tokens = total["input_tokens"] + total["output_tokens"]
    print(
        f"- {total['key']}: {total['requests']} requests, {tokens} tokens, {total['run_s']:.2f} device-seconds"
    )

text = get("/api/v1/admin/usage/export", format="csv", project="example").text
rows = list(csv.DictReader(io.StringIO(text)))
print(f"{len(rows)} rows; the last one is {rows[-1]['request_id']}, {rows[-1]['status']}")
