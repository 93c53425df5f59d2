"""Language models of our own: a causal Transformer and a Mamba, pretrained alike on bytes.

Both are models of transformers, a GPT-NeoX (Pythia's architecture) and a Mamba, in the layout of
the hub, so that they go through the code that loads Pythia-1B and Mamba-1.4B. The corpus is the
source of Python's standard library: on every machine, and no download.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import nn

from fcilib.backbones.hub import quiet, required
from fcilib.backbones.mixers import use_our_scan
from fcilib.layers.optimizer import one_cycle
from fcilib.specs.identity import short_hash
from fcilib.specs.spec import Spec
from fcilib.storage.checkpoint import load_checkpoint, save_checkpoint
from fcilib.storage.files import StoreError, storing, write_atomic
from fcilib.storage.making import find_or_make
from fcilib.storage.places import default_records
from fcilib.storage.sealed import RecordError, rounded, seal_model, unseal_model
from fcilib.storage.store import BaseRecord
from fcilib.system.machine import provenance

BYTES = 256

HELD_OUT_EVERY = 20
"""Every 20th file of the corpus is held out."""

HELD_OUT_WINDOWS = 256
"""Stretches of `context` bytes that the held-out loss is a mean over."""

CHECKPOINT_EVERY = 64
"""Steps between two checkpoints."""

CURVE_POINTS = 64
"""Entries of the training curve that is kept."""

LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "__pycache__")
"""Folders of the standard library that not every installation has."""

Say = Callable[[str], None]


class ByteLM(Spec):
    """A small causal language model over bytes, and how it is pretrained.

    The defaults give about three million parameters to either family: 4 layers of Transformer, or
    7 of Mamba.
    """

    kind: Literal["byte-lm"] = "byte-lm"
    family: Literal["transformer", "mamba"]
    layers: int = Field(ge=1)
    width: int = Field(256, ge=4, multiple_of=4)
    context: int = Field(512, ge=2)
    """Bytes in a training sequence."""
    batch: int = Field(4, ge=1)
    steps: int = Field(1024, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    seed: int = Field(0, ge=0)

    def config(self) -> Any:
        """The model's configuration, as transformers has it."""
        transformers = required("transformers")
        shared: dict[str, Any] = {"vocab_size": BYTES, "hidden_size": self.width}
        shared |= {"num_hidden_layers": self.layers, "tie_word_embeddings": False}
        shared |= {"bos_token_id": None, "eos_token_id": None}
        if self.family == "mamba":
            return transformers.MambaConfig(**shared, use_cache=False)
        return transformers.GPTNeoXConfig(
            **shared, num_attention_heads=4, intermediate_size=4 * self.width, use_cache=False
        )

    def build(self) -> nn.Module:
        """The untrained model, from torch's current random state."""
        transformers = required("transformers")
        quiet(transformers)
        return use_our_scan(transformers.AutoModelForCausalLM.from_config(self.config()))

    @property
    def identity(self) -> str:
        """16 hexadecimal digits: the name of the folder its weights lie in."""
        return short_hash(json.dumps(self.essence(), sort_keys=True))


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on, and bytes of other files to be judged on; both uint8, one dimension."""

    train: torch.Tensor
    held_out: torch.Tensor

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of all of it."""
        both = self.train.numpy().tobytes() + self.held_out.numpy().tobytes()
        return hashlib.sha256(both).hexdigest()[:16]


def standard_library(folder: Path | None = None) -> Corpus:
    """The source files of Python's standard library, in the order of their paths.

    Args:
        folder: where they lie, if not in this Python's own.

    Raises:
        ValueError: there are too few of them to hold one out.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    files = folder.rglob("*.py")
    paths = sorted(p for p in files if not {*p.relative_to(folder).parts} & {*LEFT_OUT})
    if len(paths) < HELD_OUT_EVERY:
        raise ValueError(f"{folder}: {len(paths)} source files are no corpus")
    parts: dict[bool, bytearray] = {True: bytearray(), False: bytearray()}
    for number, path in enumerate(paths, start=1):
        parts[number % HELD_OUT_EVERY == 0] += path.read_bytes()
    train, held_out = (torch.frombuffer(parts[held], dtype=torch.uint8) for held in (False, True))
    return Corpus(train, held_out)


class Pretraining(BaseRecord):
    """What pretraining left behind, beside the weights."""

    subject = "model"

    model: ByteLM
    held_out_loss: float
    """Of the weights as they are stored, in nats per byte, on files they were not trained on."""
    curve: list[float]
    """Training loss, as means over equal stretches of the steps."""
    parameters: int
    tokens: int
    """Bytes seen in training, repeats included."""
    corpus_bytes: int
    corpus: str
    """Its digest."""
    weights: str
    """SHA-256 of `model.safetensors`."""
    python: str
    seconds: float


def read_pretraining(folder: Path) -> Pretraining:
    """The record in a folder of weights. Raises RecordError where either is damaged or foreign."""
    record = unseal_model(folder / "pretraining.json", Pretraining)
    if folder.name != record.model.identity:
        raise RecordError(
            f"{folder / 'pretraining.json'}: is of the model {record.model.identity}. Delete "
            f"{folder} to pretrain its own model again."
        )
    weights = folder / "model.safetensors"
    if not weights.exists() or _checksum(weights) != record.weights:
        raise RecordError(
            f"{weights}: is missing or not what pretraining.json says. Restore it from version "
            f"control, or delete {folder} to pretrain the model again."
        )
    return record


def pretrained(
    spec: ByteLM, root: Path, corpus: Corpus | None = None, say: Say = lambda _: None
) -> Path:
    """The folder that holds the model's weights; pretrained under `root` where there is none.

    Weights of the repository's records are read where they lie. A pretraining that was killed goes
    on from its last checkpoint. Weights are stored as bf16.

    Raises:
        RecordError: the weights, or their record, are damaged.
        TensorsError: the checkpoint to go on from is.
        StoreError: `root` can't be written.
    """
    folders = [root / spec.identity, default_records() / "backbones" / spec.identity]
    folder = next((f for f in folders if (f / "pretraining.json").exists()), folders[0])
    workspace = root / ".cache" / spec.identity
    checkpoint, record = workspace / "checkpoint.safetensors", folder / "pretraining.json"
    find_or_make(
        lambda: read_pretraining(folder) if record.exists() else None,
        lambda: _pretrain(spec, folder, checkpoint, corpus or standard_library(), say),
        workspace / "lock",
        checkpoint,
        record,
    )
    return folder


def _pretrain(
    spec: ByteLM, folder: Path, checkpoint: Path, corpus: Corpus, say: Say
) -> Pretraining:
    if min(len(corpus.train), len(corpus.held_out)) <= spec.context:
        raise ValueError(f"context: {spec.context} bytes are more than the corpus has")
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model: Any = spec.build()
        optimizer, scheduler = one_cycle(
            model.parameters(), spec.learning_rate, spec.steps, weight_decay=0.01
        )
        losses, spent, begun = [], 0.0, time.perf_counter()
        if checkpoint.exists():
            notes = load_checkpoint(checkpoint, model, optimizer, scheduler)
            losses, spent = notes["losses"], notes["seconds"]
        model.train()
        for step in range(len(losses), spec.steps):
            loss = _loss(model, _windows(corpus.train, spec, step))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if (step + 1) % CHECKPOINT_EVERY == 0:
                seconds = spent + time.perf_counter() - begun
                notes = {"losses": losses, "seconds": seconds}
                save_checkpoint(checkpoint, model, optimizer, scheduler, notes)
                recent = sum(losses[-CHECKPOINT_EVERY:]) / CHECKPOINT_EVERY
                say(f"{spec.family}: step {step + 1} of {spec.steps}, {recent:.3f} nats per byte")
        seconds = spent + time.perf_counter() - begun
    with storing(folder):
        try:
            model.to(torch.bfloat16).save_pretrained(folder)
        except SafetensorError as error:
            raise StoreError(f"{folder} can't be written: {error}") from None
        (folder / "model.safetensors").chmod(0o644)
    record = Pretraining(
        model=spec,
        # What is stored is what is measured: bf16 weights, fp32 arithmetic.
        held_out_loss=rounded(_held_out_loss(model.float(), corpus.held_out, spec.context)),
        curve=rounded(_thinned(losses)),
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=spec.steps * spec.batch * spec.context,
        corpus_bytes=len(corpus.train) + len(corpus.held_out),
        corpus=corpus.digest,
        weights=_checksum(folder / "model.safetensors"),
        python=platform.python_version(),
        seconds=round(seconds, 1),
        **provenance(),
    )
    # Last: a folder without it is an unfinished one.
    write_atomic(folder / "pretraining.json", seal_model(record))
    checkpoint.unlink(missing_ok=True)
    return record


def _windows(data: torch.Tensor, spec: ByteLM, step: int) -> torch.Tensor:
    """The batch of one step, `(batch, context)` int64: it depends on seed and step alone."""
    rng = torch.Generator().manual_seed((spec.seed * 1_000_003 + step) % 2**63)
    starts = torch.randint(len(data) - spec.context, (spec.batch, 1), generator=rng)
    return data[starts + torch.arange(spec.context)].long()


def _loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean loss of predicting each next byte, in nats."""
    logits = model(input_ids=tokens).logits
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def _held_out_loss(model: nn.Module, data: torch.Tensor, context: int) -> float:
    """Over windows that lie evenly in the data."""
    model.eval()
    number = min(HELD_OUT_WINDOWS, len(data) // context)
    starts = torch.linspace(0, len(data) - context, number).long()
    windows = data[starts[:, None] + torch.arange(context)].long()
    losses = [_loss(model, part) * len(part) for part in windows.split(16)]
    return float(sum(losses) / number)


def _thinned(losses: list[float]) -> list[float]:
    """Means over at most `CURVE_POINTS` equal stretches."""
    width = -(-len(losses) // CURVE_POINTS)
    parts = [losses[start : start + width] for start in range(0, len(losses), width)]
    return [sum(part) / len(part) for part in parts]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
