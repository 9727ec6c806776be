"""The page in headless Chromium: no error on its console, its plots and its table are there and sort, no request.

Without a Chromium these tests are skipped; FMCOMPRESS_EXPECT_CHROMIUM=1 makes them fail instead.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_cases import HOSTILE, Page, record, records, write_run

from fmcompress.divergence import Comparison, Quality
from fmcompress.page import page_of, read_run

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--virtual-time-budget=2000",
    "--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom",
)  # fmt: skip
FAULT = re.compile(r".*(?:CONSOLE|Refused to|Content Security Policy).*")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium: install it, or name its program in CHROMIUM"
        if os.environ.get("FMCOMPRESS_EXPECT_CHROMIUM"):
            pytest.fail(f"FMCOMPRESS_EXPECT_CHROMIUM is set, but {reason}")
        pytest.skip(reason)
    return found


def opened(chromium: str, folder: Path, text: str) -> tuple[Page, list[str]]:
    """The page as it stands after its script ran, and what its console says."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Page(done.stdout), FAULT.findall(done.stderr)


def made(folder: Path) -> str:
    layers = [*records(3), record(HOSTILE, dead_columns=2, relative_error=0.5)]
    run = read_run(write_run(folder / "run", layers, notes=[HOSTILE]))
    models = [Quality(name, 20.0, 3.0, 1.0, 0.1, 0.2, 0.3, 0.9, 1 << 20, 16.0) for name in ("dense", HOSTILE)]
    return page_of([run, run], Comparison(models, 630, 10, 64))


def with_script(text: str, script: str) -> str:
    """The page with one more script, which its policy allows."""
    source = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src &#x27;sha256-{source}&#x27; ", 1)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def test_opens_without_a_word_on_the_console(chromium: str, tmp_path: Path) -> None:
    text = made(tmp_path)
    page, faults = opened(chromium, tmp_path, text)
    assert faults == []
    assert page.count("svg") == Page(text).count("svg") == 2 * 4 + 2
    assert page.count("script") == 1
    assert page.text.count("<script>alert(1)</script>") == Page(text).text.count("<script>alert(1)</script>")


@pytest.mark.parametrize("script", ["console.error('wrong')", "nowhere()", "fetch('https://example.com/')"])
def test_faults_would_be_seen(chromium: str, tmp_path: Path, script: str) -> None:
    """Errors and requests of a script that the policy allows to run do reach the console."""
    _, faults = opened(chromium, tmp_path, with_script(made(tmp_path), script))
    assert faults


@pytest.mark.parametrize(
    "more", ["<script>alert(1)</script>", "<img src='https://example.com/a.png'>", "<p style='color: red'>"]
)
def test_the_policy_stops_what_is_not_ours(chromium: str, tmp_path: Path, more: str) -> None:
    _, faults = opened(chromium, tmp_path, made(tmp_path).replace("<main>", f"<main>{more}", 1))
    assert any("Content Security Policy" in fault for fault in faults)


CLICK = "document.querySelectorAll('table.sortable th button')[7].click();"
SEARCH = """
const field = document.querySelector("input[type=search]");
field.value = "Q_proj";
field.dispatchEvent(new Event("input"));
"""
TELL = """
const rows = [...document.querySelector("table.sortable").tBodies[0].rows].filter((row) => !row.hidden);
document.title = rows.map((row) => row.cells[7].textContent).join(" ");
"""


def test_the_table_sorts_and_filters(chromium: str, tmp_path: Path) -> None:
    text, errors = made(tmp_path), dict[str, list[float]]()
    for name, script in {"plain": "", "once": CLICK, "twice": 2 * CLICK, "filtered": SEARCH}.items():
        (tmp_path / name).mkdir()
        page, faults = opened(chromium, tmp_path / name, with_script(text, script + TELL))
        assert faults == []
        errors[name] = [float(value) for value in page.title.split()]
    assert len(errors["plain"]) == 13
    assert errors["once"] == sorted(errors["plain"], reverse=True) != errors["plain"]
    assert errors["twice"] == sorted(errors["plain"]) != errors["plain"]
    assert len(errors["filtered"]) == 3
