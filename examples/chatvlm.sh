#!/usr/bin/env bash
# All calls of the ChatVLM dialect with curl; prints each answer's JSON. Without a model the server takes
# its default for the task.
#
#   bash chatvlm.sh page.png picture.png
set -euo pipefail

url=${ATELIER_URL:-http://127.0.0.1:7860}
samples=$(dirname "$0")/../assets/samples
page=${1:-$samples/note-en.png}
picture=${2:-$samples/shapes.png}

call() {
    curl --silent --show-error --fail-with-body -H "Authorization: Bearer ${ATELIER_TOKEN:-none}" "$@"
    echo
}

call "$url/"
call "$url/health"
call "$url/models"
call -X POST "$url/ocr" -F "file=@$page" -F "language=English"
call -X POST "$url/batch/ocr" -F "files=@$page" -F "files=@$samples/letter-fr.png" -F "files=@$samples/sign.png"
call -X POST "$url/chat" -F "file=@$picture" -F "prompt=What is in the picture?" -F "temperature=0.2"
call -X DELETE "$url/models/ocr"
