"""Who reads the picked segments and answers: a small language model, or a stand-in for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from string import Formatter
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator

from fcilib.backbones import SMOLLM2, Packaged
from fcilib.backbones.hub import no_bar, quiet, reading, required
from fcilib.specs.spec import Spec

PROMPT = """\
Lake Orvane lies north of the town of Pell. The town of Pell was founded by Ada Renn in 1820.
Question: Who founded the town south of Lake Orvane?
Answer: Ada Renn

{text}
Question: {question}
Answer:"""
"""One invented example, then the segments, one a line, and the question."""


BATCH = 16
"""Prompts that are continued at a time."""

Prompt = tuple[str, Sequence[str]]
"""A question, and the segments to answer it from."""


class LanguageModel(Spec):
    """Continues a prompt greedily up to the end of the line; that is its answer.

    It runs in bf16 on several prompts of like length at a time. Whatever else is in such a batch
    reaches an answer by rounding alone.
    """

    kind: Literal["language-model"] = "language-model"
    model: Packaged = SMOLLM2
    prompt: str = PROMPT
    """With a place for `{text}` and one for `{question}`."""
    longest: int = Field(12, ge=1)
    """Tokens of an answer."""

    @field_validator("prompt")
    @classmethod
    def _has_its_places(cls, prompt: str) -> str:
        fields = sorted(name for _, name, _, _ in Formatter().parse(prompt) if name is not None)
        if fields != ["question", "text"]:
            raise ValueError(f"has the places {fields}; it needs {{text}} and {{question}}, once")
        return prompt

    def answers(self, prompts: Sequence[Prompt]) -> list[str]:
        """One answer for each, without white space around it.

        No segment leaves their place in the prompt empty. Raises BackboneError where the model's
        package is missing.
        """
        texts = [self.prompt.format(text="\n".join(s), question=q) for q, s in prompts]
        known = _known(self)
        missing = sorted({*texts} - {*known}, key=lambda text: (len(text), text))
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            known.update(zip(part, self._continued(part), strict=True))
        return [known[text] for text in texts]

    def _continued(self, texts: list[str]) -> list[str]:
        """What the model adds to the last line of each."""
        tokenizer, model = _loaded(self.model)
        tokens = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            whole = model.generate(
                **tokens,
                do_sample=False,
                min_new_tokens=1,  # it may not end the line at once
                max_new_tokens=self.longest,
                eos_token_id=[tokenizer.eos_token_id, *tokenizer("\n")["input_ids"]],
                pad_token_id=tokenizer.pad_token_id,
            )
        added = whole[:, tokens["input_ids"].shape[1] :]
        lines = tokenizer.batch_decode(added, skip_special_tokens=True)
        return [line.partition("\n")[0].strip() for line in lines]


class OpeningWords(Spec):
    """Answers with the first words of what it is handed: a stand-in, to test what is around it."""

    kind: Literal["opening-words"] = "opening-words"
    words: int = Field(3, ge=1)

    def answers(self, prompts: Sequence[Prompt]) -> list[str]:
        """One answer for each; an empty one where there is nothing to read."""
        return [" ".join(" ".join(s).split()[: self.words]) for _, s in prompts]


AnyReader = Annotated[LanguageModel | OpeningWords, Field(discriminator="kind")]
"""Every reader a reading can name, told apart by `kind`."""


@lru_cache(maxsize=1)
def _known(reader: LanguageModel) -> dict[str, str]:
    """The reader's answers in this process, by prompt: two retrievers often pick alike."""
    return {}


@lru_cache(maxsize=1)
def _loaded(spec: Packaged) -> tuple[Any, Any]:
    """Its tokenizer, and the model with its head, bf16."""
    transformers = required("transformers")
    quiet(transformers)
    stored, folder = reading(spec.gguf), spec.folder()
    with no_bar():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, **stored
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder,
        gguf_file=spec.gguf,
        padding_side="left",  # so that every prompt ends where it is continued
    )
    return tokenizer, model.eval()
