"""What is looked for when nobody says what: everyday things, and what a whole picture may be."""

from __future__ import annotations

THINGS = (
    "person", "face", "hand", "cat", "dog", "bird", "horse", "cow", "fish", "insect",
    "car", "bus", "truck", "train", "bicycle", "motorcycle", "boat", "airplane", "traffic light", "road sign",
    "tree", "flower", "plant", "fruit", "vegetable", "bread", "cake", "cup", "bottle", "plate",
    "table", "chair", "sofa", "bed", "lamp", "window", "door", "clock", "book", "toy",
    "phone", "computer", "keyboard", "screen", "camera", "bag", "shoe", "hat", "glasses", "umbrella",
    "ball", "musical instrument", "tool", "house", "bridge",
)  # fmt: skip
SCENES = (
    "a page of text", "a screenshot", "a chart", "a map", "a drawing", "a painting", "a logo",
    "a street", "a landscape", "a beach", "a mountain", "a forest", "the sky", "a night scene", "a room",
    "a crowd", "a portrait", "a meal", "a building",
)  # fmt: skip
EVERYDAY = (*THINGS, *SCENES)
