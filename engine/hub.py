"""What a hub repository is: its name, its licence, the files a model needs of it, and the catalog row it makes.

Pure: values in, values out. Knows neither the network (`engine.couriers`) nor the cache (`engine.checkpoints`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.checkpoints import INDEX
from engine.errors import BadValue
from engine.registry import ModelSpec
from engine.requests import Capability

Entry = dict[str, Any]  # path, size, and sha256 (large files) or blob (git's own hash)
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[\w./-]{1,128}", re.ASCII)
PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/\s]+/[^/\s?#]+)(?:/tree/([^\s?#]+))?/?"
)

# Free to use by anybody for anything: `auto_download` accepts these unasked.
OPEN = frozenset({
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "cc0-1.0",
    "unlicense", "wtfpl", "cc-by-4.0",
})  # fmt: skip

TEXTS = (
    ".json",
    ".txt",
    ".jinja",
    ".model",
    ".spm",
    ".tiktoken",
)  # configs, tokenizers, vocabularies
NOTES = re.compile(r"(readme|licen[cs]e|notice|use_policy)[^/]*", re.IGNORECASE)
PART = re.compile(r"(?:\d+_\w+|[a-z0-9_]+)")  # a component's folder
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LIST = "modules.json"  # sentence-transformers' list of parts
PIPELINE = "model_index.json"  # diffusers' list of parts

ENCODERS = (
    "Bert",
    "DistilBert",
    "ModernBert",
    "MPNet",
    "NomicBert",
    "Qwen3",
    "Roberta",
    "XLMRoberta",
)
# Those that chat about pictures.
SEERS = "Qwen2VL|Qwen2_5_VL|Qwen3VL(Moe)?|Idefics3|SmolVLM|Llava(Next|Onevision)?|Gemma3"
SEERS_TOLD = "Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Idefics3, SmolVLM, LLaVA, Gemma 3"
SEEING = re.compile(f"({SEERS})ForConditionalGeneration|DotsOCRForCausalLM")
# Those that read pages, whose classes transformers has itself.
READERS = "GotOcr2|PaddleOCRVL|GlmOcr|LightOnOcr"
READERS_TOLD = "GOT-OCR2, PaddleOCR-VL, GLM-OCR, LightOnOCR"
# Those that compare pictures with words, and those that find things in them.
COMPARERS = ("Align", "AltCLIP", "ChineseCLIP", "CLIP", "CLIPSeg", "MetaClip2", "Siglip", "Siglip2")
FINDERS = (
    "ConditionalDetr", "DabDetr", "DeformableDetr", "Detr", "DFine", "LwDetr", "RfDetr", "RTDetr", "RTDetrV2",
    "TableTransformer", "Yolos", "OwlViT", "Owlv2", "GroundingDino", "MMGroundingDino",
)  # fmt: skip
CONVERTED = "model.bin"  # CTranslate2's weights, known by the vocabulary beside them
VOCABULARY = re.compile(r"(shared_|source_|target_)?vocabulary\.(json|txt)")
WHISPER = {
    "lang_ids",
    "suppress_ids",
    "alignment_heads",
}  # what CTranslate2's config of a Whisper holds
# (class in config.json, how people are told of it, family, what it does); the first that fits counts.
CLASSES: tuple[tuple[str, str, str, Capability], ...] = (
    (r"\w+ForCausalLM|GPT2LMHeadModel", "…ForCausalLM", "hf_chat", "chat"),
    (
        f"({SEERS})ForConditionalGeneration",
        f"{SEERS_TOLD} (ForConditionalGeneration)",
        "hf_chat",
        "chat",
    ),
    (
        f"({READERS})ForConditionalGeneration",
        f"{READERS_TOLD} (ForConditionalGeneration)",
        "hf_ocr",
        "ocr",
    ),
    (
        "MarianMTModel|M2M100ForConditionalGeneration",
        "MarianMTModel, M2M100ForConditionalGeneration",
        "translate",
        "translate",
    ),
    (f"({'|'.join(ENCODERS)})Model", ", ".join(f"{n}Model" for n in ENCODERS), "hf_embed", "embed"),
    (
        f"({'|'.join(COMPARERS)})Model",
        ", ".join(f"{n}Model" for n in COMPARERS),
        "hf_label",
        "label",
    ),
    (r"\w+ForImageClassification(WithTeacher)?", "…ForImageClassification", "hf_label", "label"),
    (
        f"({'|'.join(FINDERS)})ForObjectDetection",
        f"{', '.join(FINDERS)} (ForObjectDetection)",
        "hf_detect",
        "detect",
    ),
)
READ = ("config.json", INDEX, LIST, PIPELINE)  # small files that decide which others are needed


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence's short name as the model card gives it ("" unknown), and where its text is."""

    name: str
    link: str

    @property
    def is_open(self) -> bool:
        return self.name.lower() in OPEN


def parse_name(text: str) -> tuple[str, str]:
    """The repository and revision ("" = main) of a hub id, `org/name@revision` or the address of its page.

    Raises:
        BadValue: it is none of these.
    """
    text = text.strip()
    if page := PAGE.fullmatch(text):
        name, revision = page.group(1), page.group(2) or ""
    else:
        name, _, revision = text.partition("@")
    if not NAME.fullmatch(name) or ".." in name or not is_revision(revision):
        raise BadValue(
            f"'{text[:200]}' is no model of the catalog and no hub id. A hub id looks like org/name.",
            param="model",
        )
    return name, revision


def is_revision(text: str) -> bool:
    """Whether this can be a branch, tag or commit; "" stands for main."""
    return not text or bool(REVISION.fullmatch(text) and ".." not in text and text[0] != "/")


def licence_of(repo: str, card: Mapping[str, Any]) -> Licence:
    """The licence of a model card's metadata."""
    name = card.get("license") or ""
    name = ", ".join(map(str, name)) if isinstance(name, list) else str(name)
    if name == "other":
        name = str(card.get("license_name") or name)
    link = str(card.get("license_link") or "")
    if not link.startswith("https://"):
        link = f"https://huggingface.co/{repo}"
    return Licence(name[:200], link[:500])


def choose_files(
    repo: str, files: Sequence[Entry], texts: Mapping[str, str], needs_config: bool = True
) -> list[Entry]:
    """Those files of a repository that a model needs: safetensors, configs, tokenizer; no pickles, no code.

    Raises:
        BadValue: it has no config, or no weights that are safe to read.
    """
    files = [entry for entry in files if _is_plain(entry["path"])]
    names = {entry["path"] for entry in files}
    if needs_config and not names & {"config.json", PIPELINE}:
        raise BadValue(
            f"'{repo}' has no config.json, so nothing here can tell what it is. Choose the repository "
            "of a whole model (an adapter or a file of its own is not one)."
        )
    parts = _parts(names, texts)
    weights = _weights(names, texts, parts)
    if not weights:
        raise _without_weights(repo, names)
    kept = [entry for entry in files if entry["path"] in weights or _belongs(entry["path"], parts)]
    return sorted(kept, key=lambda entry: str(entry["path"]))


def _is_plain(path: str) -> bool:
    pure = PurePosixPath(path)
    return (
        not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and "\0" not in path
    )


def _parts(names: Collection[str], texts: Mapping[str, str]) -> frozenset[str]:
    """The folders that belong to the model: those its list of parts names."""
    if PIPELINE in names:
        return frozenset(name for name in parse(texts.get(PIPELINE, "")) if PART.fullmatch(name))
    if LIST in names:
        listed = _json(texts.get(LIST, ""))
        rows = listed if isinstance(listed, list) else []
        return frozenset(
            str(row["path"]) for row in rows if isinstance(row, dict) and row.get("path")
        )
    return frozenset()


def _weights(
    names: Collection[str], texts: Mapping[str, str], parts: Collection[str]
) -> frozenset[str]:
    """The safetensors files: what the index lists, else the plain one, else all shards; and those of the parts."""
    listed = parse(texts.get(INDEX, "")).get("weight_map")
    if isinstance(listed, dict) and listed:
        own = {str(name) for name in listed.values()} & set(names)
    elif "model.safetensors" in names:
        own = {"model.safetensors"}
    elif CONVERTED in names and any(map(VOCABULARY.fullmatch, names)):
        own = {CONVERTED}
    else:
        own = set()
    for part in parts:
        inside = {n for n in names if n.endswith(".safetensors") and n.rpartition("/")[0] == part}
        plain = {n for n in inside if len(n.rpartition("/")[2].split(".")) == 2}  # no ".fp16."
        own |= plain or inside
    return frozenset(own)


def _belongs(path: str, parts: Collection[str]) -> bool:
    """Whether a file that holds no weights is one the model is read with, or its terms."""
    folder, _, name = path.rpartition("/")
    if folder and folder not in parts:
        return False
    return name.endswith(TEXTS) or (not folder and bool(NOTES.fullmatch(name)))


def _without_weights(repo: str, names: Collection[str]) -> BadValue:
    if any(name.endswith(".gguf") for name in names):
        return BadValue(
            f"'{repo}' holds GGUF files, which Ollama runs. Download it with source 'ollama' as hf.co/{repo}."
        )
    if any(name.endswith(PICKLED) for name in names):
        return BadValue(
            f"The weights of '{repo}' are pickled files, which could run code, so they are not fetched. "
            "Choose a version with safetensors."
        )
    return BadValue(
        f"'{repo}' has no weights in safetensors. Choose the repository of a whole model."
    )


def describe(
    model: str,
    repo: str,
    revision: str,
    config: Mapping[str, Any],
    *,
    families: Collection[str],
    is_embedder: bool = False,
    size: int = 0,
    licence: str = "",
) -> ModelSpec:
    """The catalog row of a model that is in no catalog, by the class its config names.

    Raises:
        BadValue: no family here runs that class; names the classes that are run.
    """
    if set(config) >= WHISPER and "whisper" in families:
        does: frozenset[Capability] = frozenset({"transcribe"})
        title = repo.rpartition("/")[2]
        return ModelSpec(
            model, does, "whisper", repo, revision, title=title, licence=licence, size=size
        )
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    if "diffusion" in families and str(config.get("_class_name", "")).endswith("Pipeline"):
        return ModelSpec(
            model, frozenset({"image"}), "diffusion", repo, revision,
            title=repo.rpartition("/")[2], licence=licence, size=size,
        )  # fmt: skip
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) else {}
    context = config.get("max_position_embeddings") or inner.get("max_position_embeddings") or 0
    for pattern, _, family, capability in CLASSES:
        fits = any(re.fullmatch(pattern, name) for name in classes)
        if is_embedder:
            fits = capability == "embed"
        if fits and family in families:
            return ModelSpec(
                id=model,
                does=frozenset({capability}),
                family=family,
                repo=repo,
                revision=revision,
                title=repo.rpartition("/")[2],
                licence=licence,
                size=size,
                context=context if isinstance(context, int) and context > 0 else 0,
                options={"native": True} if family == "hf_ocr" else {},
                accepts=frozenset({"image"} if any(map(SEEING.fullmatch, classes)) else ()),
            )
    known = sorted(
        f"{shown} ({capability})" for _, shown, family, capability in CLASSES if family in families
    )
    known += ["Whisper in CTranslate2's format (transcribe)"] * ("whisper" in families)
    what = f"is a {', '.join(classes)[:200]}" if classes else "does not say what class it is"
    raise BadValue(
        f"'{repo}' {what}, which nothing here runs. These classes are run: {'; '.join(known)}."
    )


def describe_folder(
    folder: Path,
    model: str,
    repo: str,
    revision: str,
    *,
    families: Collection[str],
    licence: str = "",
) -> ModelSpec:
    """The catalog row of a model whose files are here. Raises BadValue as `describe` does."""
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return describe(
        model,
        repo,
        revision,
        parse(_text(folder / "config.json") or _text(folder / PIPELINE)),
        families=families,
        is_embedder=(folder / LIST).is_file(),
        size=size,
        licence=licence,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return ""


def parse(text: str) -> dict[str, Any]:
    """A JSON object; empty where the text is none."""
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
