"""One way to every backbone: a frozen module from tokens of a task to hidden states."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import nn

from fcilib.backbones.byte_lm import BYTES, ByteLM, pretrained, read_pretraining
from fcilib.backbones.hub import BackboneError, HubModel, Packaged, no_bar, quiet, reading, required
from fcilib.backbones.mixers import use_our_scan
from fcilib.storage.places import weights_folder

Backbone = Annotated[ByteLM | HubModel | Packaged, Field(discriminator="kind")]
"""Every backbone an experiment can name, told apart by `kind`."""

Weights = Literal["pretrained", "random"]

WIDTHS = {"smollm2-135m": 576, "minilm-l6": 384}

BATCH = 16
"""Sequences in a pass: what is kept of a pass is one layer, so larger ones gain nothing."""


class FrozenBackbone(nn.Module):
    """A language model without its head, and what the tokens of a task are called in it."""

    def __init__(self, model: nn.Module, texts: list[str]) -> None:
        """`texts`: how each id reads; an empty one is never a token of a task."""
        super().__init__()
        self.model: Any = model.float().eval().requires_grad_(False)
        self.texts = texts

    def ids(self, vocabulary: int) -> torch.Tensor:
        """The model's own ids for the tokens 0 … V - 1 of a task, `(V,)` int64.

        Drawn at random, always the same: first among the ids that read as one run of ASCII letters
        and digits, a word or a part of one; then, if those are too few, among those that can be
        printed at all, then among the rest.

        Raises:
            ValueError: the model knows fewer than V.
        """
        tiers: list[list[int]] = [[], [], []]
        for number, text in enumerate(self.texts):
            word = text.strip()
            if text:
                plain = word.isascii() and word.isprintable()
                tiers[0 if plain and word.isalnum() else 1 if plain and word else 2].append(number)
        if sum(map(len, tiers)) < vocabulary:
            raise ValueError(f"vocabulary: {vocabulary} tokens, the backbone has fewer")
        rng = torch.Generator().manual_seed(0)
        mixed = [torch.tensor(t)[torch.randperm(len(t), generator=rng)] for t in tiers if t]
        return torch.cat(mixed)[:vocabulary]

    @torch.no_grad()
    def states(self, tokens: torch.Tensor, vocabulary: int, layer: int = -1) -> torch.Tensor:
        """What layer `layer` makes of tokens `(B, L)` of a task with V tokens.

        Args:
            tokens: `(B, L)` int64.
            vocabulary: V.
            layer: 0 is the token embeddings, before any layer and any position; -1 the last, after
                the final norm.

        Returns:
            `(B, L, w)` bf16; computed in fp32.

        Raises:
            ValueError: the model has no such layer, or can't read sequences of that length.
        """
        own = self.ids(vocabulary)[tokens]
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and own.shape[1] > limit:
            raise ValueError(f"tokens: {own.shape[1]} positions, the backbone reads {limit}")
        found = [self._layer(part, layer).to(torch.bfloat16) for part in own.split(BATCH)]
        return torch.cat(found)

    def _layer(self, own: torch.Tensor, layer: int) -> torch.Tensor:
        depth = self.model.config.num_hidden_layers
        if not -depth - 1 <= layer <= depth:
            raise ValueError(f"layer: {layer}, the backbone has {depth}")
        place = layer % (depth + 1)
        if place == 0:
            return self.model.get_input_embeddings()(own)
        # A Mamba keeps its states for later tokens unless it is told that there are none.
        options = {"use_cache": False} if "mamba" in self.model.config.model_type else {}
        if place == depth:
            return self.model(input_ids=own, **options).last_hidden_state
        lists = (part for part in self.model.modules() if isinstance(part, nn.ModuleList))
        layers = next(part for part in lists if len(part) == depth)
        with _stopping_before(layers[place]) as seen:
            self.model(input_ids=own, **options)
        return seen[0]


class _Reached(Exception):
    """Ends a pass through a model whose other layers are not wanted."""


@contextmanager
def _stopping_before(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """A list that is given what the module would read; a pass inside goes no further than that."""
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(inputs[0] if inputs else named["hidden_states"])
        raise _Reached

    hook = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with suppress(_Reached):
            yield seen
    finally:
        hook.remove()


def width(spec: ByteLM | HubModel | Packaged) -> int:
    """w, the width of the hidden states, without loading the model."""
    if isinstance(spec, ByteLM):
        return spec.width
    if isinstance(spec, Packaged):
        return WIDTHS[spec.name]
    transformers = required("transformers")
    return int(transformers.AutoConfig.from_pretrained(spec.folder()).hidden_size)


@lru_cache(maxsize=8)
def fingerprint(spec: ByteLM | HubModel | Packaged, weights: Weights = "pretrained") -> str:
    """64 hexadecimal digits of the stored weights: states of others are others. Raises as `load`.

    Random weights follow from the description, and have none.
    """
    if weights == "random":
        return ""
    if isinstance(spec, ByteLM):
        return read_pretraining(pretrained(spec, weights_folder())).weights
    folder, sha = spec.folder(), hashlib.sha256()
    for path in [folder / spec.gguf] if spec.gguf else sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()


@lru_cache(maxsize=1)
def load(spec: ByteLM | HubModel | Packaged, weights: Weights = "pretrained") -> FrozenBackbone:
    """The backbone in evaluation mode, fp32. The last one loaded is kept.

    `weights="random"` is the same architecture as it was initialised, before any training.

    Raises:
        BackboneError: a package, a file or the hub is missing; the message says what to do.
        RecordError: weights of ours are damaged.
    """
    transformers = required("transformers")
    quiet(transformers)
    files: dict[str, Any] = {}
    stored: dict[str, Any] = {"use_safetensors": True}
    if isinstance(spec, ByteLM):
        folder = weights_folder() / spec.identity
        if weights == "pretrained":
            folder = pretrained(spec, weights_folder())
        stored["config"] = spec.config()  # the folder's own config.json has no checksum
    else:
        folder = spec.folder()
        if spec.gguf:
            files, stored = {"gguf_file": spec.gguf}, reading(spec.gguf)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if weights == "pretrained":
            model = _stored(folder, stored)
        else:
            read = transformers.AutoConfig.from_pretrained
            config = stored["config"] if "config" in stored else read(folder, **files)
            config.quantization_config = None
            model = transformers.AutoModel.from_config(config)
        model = use_our_scan(model)
    if isinstance(spec, ByteLM):
        return FrozenBackbone(model, [chr(byte) for byte in range(BYTES)])
    return FrozenBackbone(model, _texts(folder, model.config, files))


def _stored(folder: Path, options: dict[str, Any]) -> nn.Module:
    try:
        with no_bar():
            return required("transformers").AutoModel.from_pretrained(
                folder, dtype=torch.float32, **options
            )
    except (OSError, SafetensorError) as error:
        raise BackboneError(
            f"{folder}: holds no weights that can be read ({type(error).__name__}). Restore them, "
            f"as safetensors, or give the path of another folder in the hub's layout."
        ) from error


def _texts(folder: Path, config: Any, files: dict[str, Any]) -> list[str]:
    """How each id reads; a folder without a tokenizer leaves that open."""
    transformers = required("transformers")
    if not files and not (folder / "tokenizer.json").exists():
        return ["\0"] * config.vocab_size
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **files)
    number = min(len(tokenizer), config.vocab_size)
    texts = tokenizer.batch_decode([[i] for i in range(number)])
    special = set(tokenizer.all_special_ids)
    return ["" if i in special else text or "\0" for i, text in enumerate(texts)]
