"""What a repository is, without any network: names, licences, the files that are fetched, the row that comes of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine import hub
from engine.errors import BadValue

CONFIG = '{"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}'
FAMILIES = frozenset({"hf_chat", "hf_embed"})


def entries(*names: str) -> list[hub.Entry]:
    return [{"path": name, "size": 1, "sha256": "", "blob": name} for name in names]


def chosen(*names: str, **texts: str) -> list[str]:
    """The chosen files; `texts` by the stem of the file."""
    known = {"index": hub.INDEX, "modules": hub.LIST, "pipeline": hub.PIPELINE}
    told = {known[key]: text for key, text in texts.items()}
    return [e["path"] for e in hub.choose_files("org/one", entries(*names), told)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("org/one", ("org/one", "")),
        (" org/one@v1.0 ", ("org/one", "v1.0")),
        ("https://huggingface.co/org/one", ("org/one", "")),
        ("hf.co/org/one/", ("org/one", "")),
        ("https://huggingface.co/org/one/tree/refs/pr/1", ("org/one", "refs/pr/1")),
    ],
)
def test_names(text: str, found: tuple[str, str]):
    assert hub.parse_name(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "one", "org/", "/one", "org/one/two", "org/..", "../one", "org/one@", "org/one@../x",
        "org/one@/etc", "https://example.com/org/one", "org/o ne", "org/one@a b", "x" * 500,
    ],
)  # fmt: skip
def test_what_is_no_name(text: str):
    if text == "org/one@":
        assert hub.parse_name(text) == ("org/one", "")
        return
    with pytest.raises(BadValue):
        hub.parse_name(text)


INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
CHOICES = {
    "one file, and nothing beside": (
        ["config.json", "model.safetensors", "tokenizer.json", "merges.txt", "tokenizer.model",
         "chat_template.jinja", "LICENSE", "README.md", "pytorch_model.bin", "model.gguf", "run.py",
         "flax_model.msgpack", ".gitattributes", "onnx/model.onnx", "onnx/config.json", "cat.png",
         "consolidated.safetensors", "original/model.safetensors", "training_args.bin"],
        {},
        ["LICENSE", "README.md", "chat_template.jinja", "config.json", "merges.txt",
         "model.safetensors", "tokenizer.json", "tokenizer.model"],
    ),
    "the shards that the index lists": (
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model-3.safetensors", hub.INDEX],
        {"index": INDEX},
        ["config.json", "model-1.safetensors", "model-2.safetensors", hub.INDEX],
    ),
    "an embedder and its parts": (
        ["config.json", "model.safetensors", hub.LIST, "1_Pooling/config.json",
         "2_Dense/model.safetensors", "2_Dense/config.json", "openvino/model.safetensors"],
        {"modules": '[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]'},
        ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "config.json",
         "model.safetensors", hub.LIST],
    ),
    "a pipeline, in its full precision": (
        [hub.PIPELINE, "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
         "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json", "vae/model.fp16.safetensors",
         "tokenizer/vocab.json", "v1-5.safetensors", "docs/a.json"],
        {"pipeline": '{"_class_name": "X", "unet": [], "vae": [], "tokenizer": []}'},
        [hub.PIPELINE, "tokenizer/vocab.json", "unet/config.json",
         "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/model.fp16.safetensors"],
    ),
    "paths that leave are not there": (
        ["config.json", "model.safetensors", "../x.json", "/etc/x.json", "a\\..\\x.json"],
        {},
        ["config.json", "model.safetensors"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_files(case: str):
    names, texts, wanted = CHOICES[case]
    assert chosen(*names, **texts) == sorted(wanted)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["config.json"], "no weights"),
        (["config.json", "pytorch_model.bin"], "pickled"),
        (["config.json", "model.gguf"], "Ollama"),
        (["config.json", "consolidated.safetensors"], "no weights"),
        (["model.safetensors"], "no config.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "no config.json"),
        (["config.json", "../model.safetensors"], "no weights"),
    ],
)
def test_repositories_without_a_model(names: list[str], sentence: str):
    with pytest.raises(BadValue, match=sentence):
        chosen(*names)


def test_an_index_that_is_none_falls_back():
    names = ["config.json", "model.safetensors", hub.INDEX]
    for text in ("", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": "../../etc/passwd"}}'):
        if "passwd" in text:
            with pytest.raises(BadValue):
                chosen(*names, index=text)
        else:
            assert "model.safetensors" in chosen(*names, index=text)


@pytest.mark.parametrize(
    ("card", "name", "link", "is_open"),
    [
        ({"license": "apache-2.0"}, "apache-2.0", "https://huggingface.co/org/one", True),
        ({"license": ["mit", "x"]}, "mit, x", "https://huggingface.co/org/one", False),
        ({}, "", "https://huggingface.co/org/one", False),
        ({"license": "other", "license_name": "own", "license_link": "https://a.example/l"},
         "own", "https://a.example/l", False),
        ({"license": "llama3", "license_link": "javascript:alert(1)"},
         "llama3", "https://huggingface.co/org/one", False),
    ],
)  # fmt: skip
def test_licences(card: dict[str, object], name: str, link: str, is_open: bool):
    found = hub.licence_of("org/one", card)
    assert (found.name, found.link, found.is_open) == (name, link, is_open)


@pytest.mark.parametrize(
    ("config", "embedder", "family", "context"),
    [
        ({"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40960}, False, "hf_chat", 40960),
        ({"architectures": ["GemmaForCausalLM"], "text_config": {"max_position_embeddings": 8}}, False, "hf_chat", 8),
        ({"architectures": ["BertModel"]}, True, "hf_embed", 0),
        ({"architectures": ["XLMRobertaModel"]}, False, "hf_embed", 0),
        ({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": "x"}, False, "hf_chat", 0),
    ],
)  # fmt: skip
def test_rows(config: dict[str, object], embedder: bool, family: str, context: int):
    spec = hub.describe("org/one", "org/one", "", config, families=FAMILIES, is_embedder=embedder)
    assert (spec.family, spec.context, spec.repo) == (family, context, "org/one")


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("Qwen2VLForConditionalGeneration", True),
        ("Qwen2_5_VLForConditionalGeneration", True),
        ("Qwen3VLForConditionalGeneration", True),
        ("Qwen3VLMoeForConditionalGeneration", True),
        ("Idefics3ForConditionalGeneration", True),
        ("SmolVLMForConditionalGeneration", True),
        ("LlavaForConditionalGeneration", True),
        ("LlavaNextForConditionalGeneration", True),
        ("LlavaOnevisionForConditionalGeneration", True),
        ("Gemma3ForConditionalGeneration", True),
        ("DotsOCRForCausalLM", True),
        ("Gemma3ForCausalLM", False),
    ],
)
def test_chats_that_see_say_so(name: str, sees: bool):
    spec = hub.describe("org/one", "org/one", "", {"architectures": [name]}, families=FAMILIES)
    assert (spec.family, spec.does) == ("hf_chat", {"chat"})
    assert spec.accepts == ({"image"} if sees else frozenset())


@pytest.mark.parametrize(
    "config", [{}, {"architectures": ["T5Stack"]}, {"architectures": "x"}, {"architectures": [1]}]
)
def test_a_class_that_is_not_run_names_those_that_are(config: dict[str, object]):
    with pytest.raises(BadValue, match=r"…ForCausalLM \(chat\)") as refusal:
        hub.describe("org/one", "org/one", "", config, families={"hf_chat"})
    assert "embed" not in refusal.value.message
    assert not re.search(r"[\\|+]", refusal.value.message)


def test_a_folder_tells_the_same(tmp_path: Path):
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    spec = hub.describe_folder(tmp_path, "mine", "org/one", "v1", families=FAMILIES, licence="mit")
    assert (spec.id, spec.size, spec.context, spec.licence) == ("mine", 5, 128, "mit")
    with pytest.raises(BadValue):
        hub.describe_folder(tmp_path / "absent", "mine", "org/one", "", families=FAMILIES)
