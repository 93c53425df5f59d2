"""The page of environment variables: each that the code reads, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"\bFCI_[A-Z_]+\b")


def test_every_variable_is_on_the_page():
    code = [*(ROOT / "fcilib").rglob("*.py"), *(ROOT / "chapters").glob("*.py")]
    used = {name for path in code for name in NAME.findall(path.read_text(encoding="utf-8"))}
    page = (ROOT / "book" / "variables.md").read_text(encoding="utf-8")
    assert set(NAME.findall(page)) == used
