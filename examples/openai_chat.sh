#!/usr/bin/env bash
# Chat through the OpenAI dialect with curl; prints the answer's JSON. Without a model in the body
# the server takes its default.
#
#   bash openai_chat.sh "What can you do?"
set -euo pipefail

url=${ATELIER_URL:-http://127.0.0.1:7860}
question=${*:-Hello! Who are you?}
question=${question//\\/\\\\}
question=${question//\"/\\\"}

curl --silent --show-error --fail-with-body "$url/v1/chat/completions" \
    -H "Authorization: Bearer ${ATELIER_TOKEN:-none}" \
    -H "Content-Type: application/json" \
    -d "{\"messages\": [{\"role\": \"user\", \"content\": \"$question\"}], \"max_tokens\": 100}"
echo
