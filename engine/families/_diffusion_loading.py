"""Loading a pipeline that draws from its checked folder: type of weights, device, quantisation, offload, switches.

Publishes only what was built whole; a failure leaves nothing in memory.

Switches of a row's `options`, and what each buys (figures of published measurements on GPUs, ours on processors):
- dtype "bfloat16" on a processor with such instructions: 2.4 times as fast as float32 (SDXL-shaped, 512 pixels),
  3 times with weights laid out once (`_packed`) and convolutions in channels-last order, which is always done there.
- compile = true: 1.3 times a step of Flux, 1.5 of SD 1.5; costs a minute at the first picture of each size, so it is
  for models that stay loaded. Only the repeated blocks are compiled.
- attention = "_native_cudnn", "flash", "sage", …: another attention kernel where it is installed; 1.1 to 1.3 times.
- cache = 0.05 to 0.2: steps whose first block hardly changed are not computed. 1.2 times at 0.08, and the picture
  differs a little (PSNR 34 dB): off unless asked for. Only for transformers with many steps.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.checkpoints import PIPELINE, check_weights, pipeline_parts, read_json, weight_files
from engine.errors import AtelierError, LoadFailed
from engine.families._loading import choose_device, usable_cores
from engine.families._packed import pack_linears
from engine.families._threads import SMALL
from engine.faults import is_out_of_memory
from engine.fit import Form, anatomy_of, forms
from engine.registry import ModelSpec
from engine.settings import Settings

CORES = ("transformer", "transformer_2", "unet", "prior")  # the parts that every step goes through
log = logging.getLogger("atelier.diffusion")


def load_pipeline(folder: Path, spec: ModelSpec, settings: Settings, pack: bool = True) -> Any:
    """The text-to-image pipeline of a folder, on its device and ready.

    Args:
        pack: lay out weights once on a processor, which rules LoRAs out.

    Raises:
        LoadFailed, NotDownloaded: files are missing, damaged or pickled, or diffusers cannot build the pipeline.
    """
    listed = read_json(folder / PIPELINE, spec)
    for shard in weight_files(folder, spec):
        check_weights(shard, spec)
    kind = pipeline_class(listed, spec)
    device = choose_device(str(spec.options.get("device") or settings.device))
    anatomy = anatomy_of(spec)
    if device.type == "cpu":
        import torch

        small = anatomy is not None and anatomy.parameters < SMALL
        torch.set_num_threads(1 if small else usable_cores())
    form = forms(spec, settings, device.type, anatomy, able=True)[0]
    try:
        pipe = _built(kind, folder, spec, listed, form, device)
        _switch(pipe, spec, form, device, pack)
        return pipe
    except AtelierError:
        raise
    # A pipeline is a dozen foreign classes: this is their border. A full device is the lane's to mend.
    except Exception as error:
        gc.collect()
        if is_out_of_memory(error):
            raise
        raise LoadFailed(
            f"Model '{spec.id}' could not be built ({type(error).__name__}). Copy or download its folder again, "
            "or choose another model."
        ) from error


def pipeline_class(listed: Mapping[str, Any], spec: ModelSpec) -> Any:
    """Diffusers' own class that a list of parts names; code of the repository's own is never run."""
    import diffusers
    from diffusers.utils import logging as told

    told.set_verbosity_error()
    name = str(listed.get("_class_name") or "")
    kind = getattr(diffusers, name, None) if name.isidentifier() else None
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise LoadFailed(
            f"Model '{spec.id}' is of a kind ('{name[:80]}') that the installed diffusers does not know. "
            "Choose another model, or update diffusers."
        )
    libraries = {value[0] for value in listed.values() if isinstance(value, list) and value}
    if odd := sorted(str(one) for one in libraries - {None, "diffusers", "transformers"}):
        inside = [one for one in odd if one not in {"stable_diffusion", "flux", "qwenimage"}]
        if inside:
            raise LoadFailed(
                f"Model '{spec.id}' brings program code of its own ({inside[0][:80]}), which is not run here. "
                "Choose another model."
            )
    return kind


def _built(
    kind: Any, folder: Path, spec: ModelSpec, listed: Mapping[str, Any], form: Form, device: Any
) -> Any:
    import torch

    more: dict[str, Any] = {}
    if listed.get("safety_checker"):  # a second model that judges; it is not ours to hide pictures
        more |= {"safety_checker": None, "requires_safety_checker": False}
    if not (folder / "vae" / "diffusion_pytorch_model.safetensors").is_file():
        variants = list((folder / "vae").glob("*.fp16.safetensors"))
        more |= {"variant": "fp16"} if variants else {}
    if form.quantisation:
        more["quantization_config"] = _quantised(folder, spec, form)
    pipe = kind.from_pretrained(
        folder,
        dtype=getattr(torch, form.dtype),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **more,
    )
    pipe.set_progress_bar_config(disable=True)
    if form.offload:
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe


def _quantised(folder: Path, spec: ModelSpec, form: Form) -> Any:
    """What tells diffusers to hold the parts that every step or prompt goes through in fewer bits."""
    import diffusers
    import torch
    import transformers
    from diffusers.quantizers import PipelineQuantizationConfig

    def how(library: Any) -> Any:
        if form.quantisation == "int4":
            return library.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=getattr(torch, form.dtype),
            )
        from torchao.quantization import Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig())

    names = [part.name for part in pipeline_parts(folder, spec)]
    mapping = {name: how(diffusers) for name in names if name in CORES}
    mapping |= {name: how(transformers) for name in names if name.startswith("text_encoder")}
    return PipelineQuantizationConfig(quant_mapping=mapping)


def _switch(pipe: Any, spec: ModelSpec, form: Form, device: Any, pack: bool) -> None:
    """What makes it quicker and changes no picture, then what the row asks for."""
    import torch

    for name, part in parts_of(pipe):
        part.requires_grad_(False).eval()
        if device.type == "cpu" and not form.quantisation:
            if form.dtype == "bfloat16" and (name in CORES or name == "vae"):
                part.to(memory_format=torch.channels_last)
            if pack:
                pack_linears(part)
    core = core_of(pipe)
    if spec.options.get("attention") and hasattr(core, "set_attention_backend"):
        core.set_attention_backend(str(spec.options["attention"]))
    if (least := spec.options.get("cache")) and hasattr(core, "enable_cache"):
        from diffusers import FirstBlockCacheConfig

        core.enable_cache(FirstBlockCacheConfig(threshold=float(least)))
    if spec.options.get("compile"):
        if hasattr(core, "compile_repeated_blocks") and getattr(core, "_repeated_blocks", None):
            core.compile_repeated_blocks(fullgraph=False)
        else:
            core.compile()


def parts_of(pipe: Any) -> list[tuple[str, Any]]:
    """The parts of a pipeline that are networks."""
    import torch

    found = pipe.components.items()
    return [(name, part) for name, part in found if isinstance(part, torch.nn.Module)]


def core_of(pipe: Any) -> Any:
    """The network that every step goes through."""
    return next(getattr(pipe, name) for name in CORES if getattr(pipe, name, None) is not None)


def sibling(pipe: Any, kind: Any) -> Any:
    """Another pipeline of the same parts, which draws from pictures. It holds nothing of its own.

    Diffusers' own `from_pipe` would cast the parts to float32, for both pipelines.
    """
    modules, others = kind._get_signature_keys(kind)
    parts = {name: part for name, part in pipe.components.items() if name in modules}
    parts |= {name: pipe.config[name] for name in others if name in pipe.config}
    made = kind(**parts)
    for name in (
        "_all_hooks",
        "_offload_device",
        "_offload_gpu_id",
    ):  # a part in RAM is moved by its first pipeline
        if hasattr(pipe, name):
            setattr(made, name, getattr(pipe, name))
    made.set_progress_bar_config(disable=True)
    return made
