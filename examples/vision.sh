#!/usr/bin/env bash
# The Ollama Vision dialect with curl: health, the models that see, a question about a picture, a switch.
#
#   bash vision.sh picture.png
set -euo pipefail

url=${ATELIER_URL:-http://127.0.0.1:7860}/api/v1/ai
picture=${1:-$(dirname "$0")/../assets/samples/shapes.png}

call() {
    curl --silent --show-error --fail-with-body -H "Authorization: Bearer ${ATELIER_TOKEN:-none}" "$@"
    echo
}

call "$url/health"
call "$url/vision/models"
# The body goes through a pipe: a picture is too long for a command line.
printf '{"image": "data:image/png;base64,%s", "prompt": "What is in the picture?", "cache": true}' \
    "$(base64 <"$picture" | tr -d '\n')" |
    call -X POST "$url/vision/analyze" -H "Content-Type: application/json" --data-binary @-
current=$(call "$url/vision/models" | sed 's/.*"current_model":"\([^"]*\)".*/\1/')
call -X POST "$url/vision/models/$current"
