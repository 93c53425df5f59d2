"""A record that this process can't read as an experiment does not take the book with it."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fcilib.cli import app
from fcilib.ledger.ledger import whole_ledger
from fcilib.present import ledger_page
from fcilib.publish.sweep_cost import write_sweep_cost
from fcilib.storage.sealed import seal, unseal

RECORDS = Path(__file__).resolve().parents[1] / "records"


def fci(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def records(tmp_path):
    """Some of the book's records, and one of a task and a router that nobody here has."""
    folder = tmp_path / "records"
    for profile in ("quick", "scaling"):
        (folder / profile).mkdir(parents=True)
    some = sorted((RECORDS / "quick").glob("*.json"))[:6]
    for path in some:
        shutil.copy(path, folder / "quick")
    content = unseal(some[0])
    return folder, content


@pytest.mark.parametrize("part", ["task", "router", "representation"])
@pytest.mark.filterwarnings("always:.*is not known here:UserWarning")
def test_a_record_of_an_unknown_kind_stops_no_page_and_no_command(records, tmp_path, part):
    folder, content = records
    write_sweep_cost(tmp_path / "plain", folder)
    content["experiment"][part] = {"kind": "a-readers-own", "size": 3}
    content["identity"] = "0123456789abcdef"
    (folder / "quick" / "0123456789abcdef.json").write_bytes(seal(content))
    said = (
        "0123456789abcdef.json: kind 'a-readers-own' is not known here; import what defines it. "
        "Left out."
    )
    with pytest.warns(UserWarning, match=re.escape(said)):
        write_sweep_cost(tmp_path / "book", folder)
    plain, page = (
        (tmp_path / name / "_generated" / "sweep-cost.md").read_text("utf-8")
        for name in ("plain", "book")
    )
    assert page == plain
    ledger_page.write_ledger_pages(tmp_path / "book", whole_ledger(folder))
    at = ["--records", str(folder)]
    assert fci("claims", *at).exit_code == 0
    audited = fci("audit", *at, "--sample", "7", "--most", "0.001")
    assert audited.stderr.splitlines()[0] == f"fci: {said}"
    assert "holds no record to draw from" in audited.stderr
    listed = fci("sweep", *at, "--profile", "quick", "--list")
    assert (listed.exit_code, listed.stderr) == (0, "")
