"""A question's context, cut by length alone.

    context    [s0 s1 s2] [s3 s4] [s5 s6 s7 s8] ...  ten paragraphs, two of which support the answer
    segments   [s0 s1] [s2 s3 s4] [s5 s6] [s7 s8] ...  the same sentences, cut by length alone
    gold           *                 *                 segments that hold a supporting sentence

Who sees the question picks two of the sixteen segments. A question's paragraphs and their titles
are not shown: only sentences, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from fcilib.retrieval.questions import Question


@dataclass(frozen=True)
class Segments:
    """A question's context, cut: every sentence is in one segment, in order."""

    texts: tuple[str, ...]
    """The sentences of each segment, one space between them."""
    gold: frozenset[int]
    """The segments that hold a supporting sentence, by index."""

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, question: Question, number: int = 16) -> Segments:
        """Cut a context into `number` runs of whole sentences of about as many words each.

        Cut i is made at the end of the sentence that is nearest to the share i / number of all
        words (split at white space; the earlier end of two that are as near), or nearest among
        those that leave a sentence to every segment. A context of fewer sentences than `number`
        gives as many segments as it has sentences. Raises ValueError on a number below 1.
        """
        if number < 1:
            raise ValueError(f"number: {number} segments; there must be one or more")
        sentences = [sentence.strip() for sentence in question.sentences]
        count = len(sentences)
        number = min(number, count)
        ends = list(accumulate((len(s.split()) for s in sentences), initial=0))
        cuts = [0]
        for i in range(1, number):
            free = range(cuts[-1] + 1, count - (number - i) + 1)
            cuts.append(min(free, key=lambda end: abs(number * ends[end] - i * ends[-1])))
        spans = [range(start, stop) for start, stop in pairwise([*cuts, count])]
        texts = (" ".join(filter(None, (sentences[i] for i in span))) for span in spans)
        gold = (at for at, span in enumerate(spans) if question.supporting.intersection(span))
        return cls(tuple(texts), frozenset(gold))
