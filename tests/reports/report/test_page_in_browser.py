"""The page as people see it: in a real browser, at two widths, by day and by night."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from reports.records.results import Failure, SuiteResult
from reports.records.schema import to_json
from reports.report.write import write_report
from tests.reports.builders import add_cell

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EVIL = "<script>window.hacked = 1</script>"
WIDE, NARROW = (1400, 900, "light"), (390, 844, "dark")


@pytest.fixture(scope="module")
def browser():
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as running:
        try:
            found = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip(
                f"needs a browser: one of {', '.join(BROWSERS)}, or `playwright install chromium`"
            )
        yield found
        found.close()


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, "WEBP")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A store with two models, one of evil name, scores that rise and fall, a hole, a failure, a
    sample with its picture.
    """
    root = tmp_path_factory.mktemp("store")
    variants = (
        ("fp", "none", 16.0, 0.95),
        ("gptq4", "gptq-4", 4.156, 0.94),
        ("gptq3", "gptq-3", 3.148, 0.9),
        ("rtn3", "rtn-3", 3.2, 0.8),
    )
    for number, (method, high, bits, score) in enumerate(variants):
        for suite in ("mini_gqa", "mini_pope")[: 1 if method == "rtn3" else 2]:
            add_cell(
                root,
                key=f"{suite}{number}",
                method=method,
                high=high,
                suite=suite,
                score=score,
                stored_bits=bits,
                stored_bytes=int(bits * 1e6),
                alpha=0.0 if method == "rtn3" else 0.5,
                variant=method,
            )
    add_cell(root, key="evil", method=EVIL, model=EVIL, suite="mini_gqa", command=EVIL)
    (root / "failures").mkdir()
    failure = Failure(
        model="mini",
        method=EVIL,
        k=0,
        suite="mini_gqa",
        limit=None,
        error="block 3 gives NaN",
        command="python",
    )
    (root / "failures" / "one.json").write_text(to_json(failure))
    _with_picture(root)
    write_report(root)
    return root / "report" / "index.html"


def _with_picture(root):
    folder = root / "pictures" / "p1"
    folder.mkdir(parents=True)
    name = f"{'a' * 32}.webp"
    (folder / name).write_bytes(picture())
    (folder / "index.json").write_text(json.dumps({"0": [name]}))
    for path in root.glob("results/*/result.json"):
        result = SuiteResult.model_validate_json(path.read_text())
        answers = [
            result.answers[0].model_copy(
                update={
                    "prompt": f"{EVIL} What is it?",
                    "scores": {"f1": float("3" not in path.parent.name)},
                }
            )
        ]
        path.write_text(to_json(result.model_copy(update={"pictures": "p1", "answers": answers})))


@pytest.fixture
def opened(browser, page_file, request):
    """(page, what its console and network said)."""
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda request: (
            said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
        ),
    )
    page.goto(page_file.as_uri())
    yield page, said
    context.close()


def shown(page):
    return page.locator("#board tbody tr:visible td:first-child").all_inner_texts()


def pixels(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))


@pytest.mark.parametrize("opened", [WIDE, NARROW], indirect=True, ids=["wide", "narrow"])
def test_the_page_fits_its_window_shows_its_pictures_and_says_nothing_to_the_console(opened):
    page, said = opened
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").is_visible()
    assert page.locator("#board tbody tr").count() == 5
    images = page.locator("article img").all()
    assert images
    assert all(image.evaluate("i => i.complete && i.naturalWidth > 0") for image in images)
    for anchor in ("leaderboard", "blocks", "samples", "scorecard", "failures", "reproduce"):
        page.evaluate(f"document.getElementById('{anchor}').scrollIntoView()")
        assert np.ptp(pixels(page)) > 100, f"nothing to see at {anchor}"
    assert said == []


@pytest.mark.parametrize("opened", [WIDE, NARROW], indirect=True, ids=["wide", "narrow"])
def test_day_and_night_have_their_own_colours(opened):
    page, _ = opened
    background = np.median(pixels(page))
    assert background > 200 if page.viewport_size["width"] > 1000 else background < 60


@pytest.mark.parametrize("opened", [WIDE], indirect=True, ids=["wide"])
def test_r22_nothing_that_was_named_or_asked_runs_as_code(opened):
    page, _ = opened
    assert page.evaluate("window.hacked") is None
    assert any(EVIL in text for text in shown(page))
    assert EVIL in page.locator("article p").first.inner_text()


@pytest.mark.parametrize("opened", [WIDE], indirect=True, ids=["wide"])
def test_a_click_on_a_heading_sorts_and_another_turns_it_round(opened):
    page, said = opened
    bits = page.get_by_role("button", name="stored bits")

    def column():
        return [
            float(value) for value in page.locator("#board tbody td:nth-child(3)").all_inner_texts()
        ]

    bits.click()
    assert column() == sorted(column(), reverse=True)
    bits.click()
    assert column() == sorted(column())
    page.get_by_role("button", name="POPE").click()
    assert "rtn3" in shown(page)[-1] or EVIL in shown(page)[-1], "holes come last"
    assert said == []


@pytest.mark.parametrize("opened", [WIDE], indirect=True, ids=["wide"])
def test_filters_leave_what_was_asked_for(opened):
    page, _ = opened
    page.get_by_label("words").fill("gptq")
    assert [text.split("\n")[0].strip("◆ ") for text in shown(page)] == ["gptq4", "gptq3"]
    page.get_by_label("words").fill("")
    page.get_by_label("calibration").select_option("0")
    assert [text.split("\n")[0].strip("◆ ") for text in shown(page)] == ["rtn3"]
    page.get_by_label("calibration").select_option("")
    page.get_by_label("Pareto-optimal only").check()
    assert all(text.startswith("◆") for text in shown(page))
    assert not any("rtn3" in text for text in shown(page))
    page.get_by_label("Pareto-optimal only").uncheck()
    before = page.locator("#board thead th:visible").count()
    page.get_by_role("checkbox", name="mini_pope").uncheck()
    assert page.locator("#board thead th:visible").count() == before - 1
    page.get_by_label("model").first.select_option(EVIL)
    assert len(shown(page)) == 1
    assert "1 of 5 variants" in page.locator("#shown").inner_text()
