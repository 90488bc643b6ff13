"""The HTML report in a real browser: it works from disk, asks nobody for anything, and fits a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_parity.compare import Layer, judge
from mlx_parity.findings import StageReport
from mlx_parity.report import markdown
from parity.findings import RunReport
from parity.report import data, html
from parity.stages import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT CHECKED in a browser: no Chromium on this machine (Debian: apt install chromium)"
)

#: What a visitor does, and what he then sees. Run inside the page (or a frame of a given width).
VISIT = """
const $ = (selector) => page.querySelector(selector), all = (selector) => [...page.querySelectorAll(selector)];
const type = (text) => { $("#search").value = text; $("#search").dispatchEvent(new Event("input")); };
const seen = { rows: all("tr.layer").length, verdict: $(".verdict strong").textContent };
type("mid_blocks.3 layernorm"); seen.found = all("tr.layer").map((row) => row.cells[0].textContent); type("");
all("#layers th button")[2].click(); seen.worst = $("tr.layer").cells[0].textContent;
all("#layers th button")[2].click(); seen.best = $("tr.layer").cells[0].textContent;
$("tr.layer").click(); seen.detail = $("tr.detail").textContent;
$("tr.layer").click(); seen.closed = all("tr.detail").length;
seen.images = all("img").every((image) => image.complete && image.naturalWidth > 0);
seen.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
seen.width = page.defaultView.innerWidth;
const requests = page.defaultView.performance.getEntriesByType("resource").map((entry) => entry.name);
seen.requests = requests.filter((name) => !name.startsWith("data:"));
seen.ground = getComputedStyle(page.body).backgroundColor;
"""


def _layers(count: int, wrong: int) -> list[Layer]:
    rng = np.random.default_rng(0)
    layers = []
    for index in range(count):
        exact = rng.normal(size=(2, 6, 9))
        expected = (exact * (1 + 1e-7 * rng.normal(size=exact.shape))).astype(np.float32)
        actual = expected + (np.float32(0.1) if index == wrong else np.float32(0))
        path = f"flow.decoder.estimator.mid_blocks.{index}.0.block1.block.2"
        layers.append(judge(path, "LayerNorm", actual, expected, exact, dtype="float32"))
    return layers


@pytest.fixture(scope="module")
def run_report() -> RunReport:
    mel = np.random.default_rng(1).normal(-5, 2, size=(1, 80, 60))
    layers = _layers(12, wrong=7)
    stage = StageReport("flow_decoder", "Flow decoder", "float32", layers=layers)
    stage.arrays = {"mel": (mel * 0.6, mel)}
    stage.measures = {
        "euler_step_error": [1e-3, 2e-3],
        "streaming": {"boundaries_frames": [20, 40], "seam_error": [0.1, 0.2], "elsewhere_error": 0.01},
    }
    quiet = StageReport("vocoder", "Vocoder", "float32", layers=_layers(3, wrong=-1))
    return RunReport([stage, quiet], Settings(streaming="official"), family="CosyVoice3")


@pytest.fixture(scope="module")
def page(run_report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html.write_html(run_report, data.to_dict(run_report, checkpoint="a<b>", model="m"), path)
    return path


def _chromium(page: Path, *flags: str) -> str:
    profile = page.parent / "profile"
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"),
        *("--allow-file-access-from-files", "--virtual-time-budget=4000", *flags, "--dump-dom", page.as_uri()),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _visit(page: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open the report in a frame of the given width, act, and return what was seen."""
    outer = page.with_name(f"visit-{width}-{len(flags)}.html")
    outer.write_text(
        f'<iframe src="{page.name}" style="width:{width}px;height:800px;border:0"></iframe><pre></pre><script>'
        'document.querySelector("iframe").onload = (event) => { const page = event.target.contentDocument;'
        f"{VISIT} document.querySelector('pre').textContent = JSON.stringify(seen); }};</script>"
    )
    dom = _chromium(outer, *flags)
    found = re.search(r"<pre>(\{.*?\})</pre>", dom, re.DOTALL)
    assert found, "the page's script did not run to its end"
    return json.loads(found[1])


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_search_sort_and_details_work(page: Path, width: int) -> None:
    seen = _visit(page, width)
    assert seen["verdict"] == "diverged"
    assert seen["rows"] == 15
    assert [path.split(".")[4] for path in seen["found"]] == ["3"]
    assert ".mid_blocks.7." in seen["worst"]
    assert ".mid_blocks.7." not in seen["best"]
    assert "noise floor" in seen["detail"]
    assert seen["closed"] == 0
    assert seen["images"]
    assert seen["width"] == width
    assert seen["overflow"] <= 0, "the page scrolls sideways"


def test_the_title_names_the_model(page: Path) -> None:
    assert "<title>CosyVoice3 parity: diverged</title>" in page.read_text(encoding="utf-8")


@needs_browser
def test_dark_and_light(page: Path) -> None:
    light = _visit(page, 1000)["ground"]
    dark = _visit(page, 1000, "--blink-settings=preferredColorScheme=0")["ground"]
    assert {light, dark} == {"rgb(251, 250, 248)", "rgb(20, 23, 28)"}


@needs_browser
def test_no_request_leaves_the_page(page: Path) -> None:
    assert _visit(page, 1100)["requests"] == []
    report = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in report  # the browser itself forbids it
    assert not re.search(r"(src|href)=\"(?!#|data:)", report)


def test_text_from_outside_is_escaped(page: Path) -> None:
    assert "a&lt;b&gt;" in page.read_text(encoding="utf-8")


def test_three_thousand_layers_stay_below_five_megabytes(run_report: RunReport, tmp_path: Path) -> None:
    stage = StageReport("llm", "Language model", "float32", layers=_layers(3000, wrong=-1))
    big = RunReport([*run_report.stages, stage], run_report.settings)
    html.write_html(big, data.to_dict(big), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def test_the_markdown_summary_names_stages_and_culprits(run_report: RunReport) -> None:
    culprit = {"module": "flow.decoder", "kind": "glue", "headline": "wrong", "evidence": ["far off"]}
    text = markdown.summary(run_report, {"culprits": [culprit]})
    assert text.startswith("## Parity: **diverged** (streaming)")
    assert "| Flow decoder | **diverged** | 11/12 |" in text
    assert "| Vocoder | pass | 3/3 |" in text
    assert "`flow.decoder`** (glue)" in text
    assert "mel: MLX mean" in text
