"""The page as people see it, in a real browser: what it draws, how it sorts, and that no text takes it over."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil
import pytest
from perfgate.report import Section, page
from PIL import Image

from tests.support import report_sections
from tests.support.report_sections import NUMBERS, NUMBERS_TABLE, WORDS

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = (1200, 900), (380, 800)
LARGEST_BYTES, SLOWEST_S = 5_000_000, 2.0
"""What a report of 300 cases may have on disk, and take to open."""
TOUCHING = 0.5
"""Pixels by which two texts' boxes may overlap: the boxes are a little larger than the letters."""


@dataclass
class Opened:
    """A page in a browser, with all that it has said and asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the page of a function of ``report_sections``, once."""
    folder = tmp_path_factory.mktemp("pages")

    def make(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            sections: list[Section] = getattr(report_sections, name)()
            title = report_sections.HOSTILE[0] if name == "hostile" else "Performance report"
            path.write_text(page.render(title, sections), encoding="utf-8")
        return path

    return make


@pytest.fixture
def shown(browser: Any, files: Callable[[str], Path]) -> Iterator[Open]:
    """Opens a page: ``shown(name, size=DESK, scheme="light", script=True, part="")``."""
    contexts = []

    def show(
        name: str, size: tuple[int, int] = DESK, scheme: str = "light", script: bool = True, part: str = ""
    ) -> Opened:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda one: opened.said.append(f"{one.type}: {one.text}"))
        opened.page.on("pageerror", lambda one: opened.said.append(f"error: {one}"))
        opened.page.on("request", lambda one: opened.asked.append(one.url))
        opened.page.goto(files(name).as_uri() + part)
        return opened

    yield show
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: CI names a folder."""
    folder = os.environ.get("PERFGATE_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


def wider_than_its_window(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def numbers(page: Any, column: int = 1) -> list[str]:
    """The texts of one column of the first table, from top to bottom."""
    cells = page.locator(f"#s-gate tbody tr > :nth-child({column + 1})")
    return [str(text) for text in cells.all_text_contents()]


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, "relative luminance"; ``colour`` is ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, "contrast ratio"."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


class TestQuiet:
    @pytest.mark.parametrize("name", ["everything", "hostile"])
    def test_it_says_nothing_and_loads_nothing(self, shown: Open, files: Callable[[str], Path], name: str) -> None:
        opened = shown(name)
        opened.page.wait_for_load_state("networkidle")
        assert opened.said == []
        assert opened.asked == [files(name).as_uri()]


class TestSorting:
    ASCENDING = ("-3.0", "0.0", "9.0", "10.0", "100.0", "1,000.0", "-", "-")
    DESCENDING = ("1,000.0", "100.0", "10.0", "9.0", "0.0", "-3.0", "-", "-")

    @pytest.mark.parametrize("way", ["click", "Enter"])
    def test_numbers_sort_as_numbers_and_a_second_time_the_other_way(self, shown: Open, way: str) -> None:
        page = shown("everything").page
        head = page.locator("#s-gate th", has_text="number")
        button = head.get_by_role("button")
        for order, state in ((self.ASCENDING, "ascending"), (self.DESCENDING, "descending")):
            button.click() if way == "click" else button.press("Enter")
            assert tuple(numbers(page)) == order
            assert head.get_attribute("aria-sort") == state

    def test_a_row_stays_together_and_another_column_takes_over(self, shown: Open) -> None:
        page = shown("everything").page
        before = sorted(zip(*(numbers(page, column) for column in range(3)), strict=True))
        for name in ("number", "verdict"):
            page.locator("#s-gate th", has_text=name).get_by_role("button").click()
            assert sorted(zip(*(numbers(page, column) for column in range(3)), strict=True)) == before
        assert numbers(page, 2) == ["IMPROVED", "REGRESSED", "REGRESSED", "SAME", "SAME", "SAME", "-", "-"]
        assert page.locator("#s-gate th[aria-sort]").count() == 1


class TestCharts:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_one_is_drawn(self, shown: Open, scheme: str) -> None:
        page = shown("everything", scheme=scheme).page
        drawn = page.locator("figure svg")
        assert drawn.count() == len(report_sections.CHARTS)
        for one in drawn.all():
            image = Image.open(io.BytesIO(one.screenshot())).convert("RGB")
            colours = image.getcolors(image.width * image.height)
            assert colours is not None
            often = [count for count, _ in colours if count > 10]
            assert len(often) > 5, "a blank chart"
            assert max(often) < 0.995 * image.width * image.height, "next to nothing on it"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_their_texts_can_be_read(self, shown: Open, scheme: str) -> None:
        page = shown("everything", scheme=scheme).page
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        inks = page.evaluate("[...document.querySelectorAll('svg text')].map((one) => getComputedStyle(one).fill)")
        assert len(inks) > 50
        assert min(contrast(ink, paper) for ink in set(inks)) > 4.5

    @pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
    def test_no_two_texts_of_one_cover_each_other(self, shown: Open, size: tuple[int, int]) -> None:
        charts = shown("everything", size=size).page.evaluate(
            """[...document.querySelectorAll("figure svg")].map((svg) =>
            [...svg.querySelectorAll("text")].map((text) => {
              const box = text.getBoundingClientRect();
              return [text.textContent.trim(), box.left, box.top, box.right, box.bottom];
            }))"""
        )
        covering = [
            (one[0], other[0])
            for texts in charts
            for one, other in combinations(texts, 2)
            if min(one[3], other[3]) - max(one[1], other[1]) > TOUCHING
            and min(one[4], other[4]) - max(one[2], other[2]) > TOUCHING
        ]
        assert covering == []

    @pytest.mark.parametrize("name", ["everything", "hostile"])
    def test_every_text_is_inside_its_chart(self, shown: Open, name: str) -> None:
        outside = shown(name).page.evaluate(
            """[...document.querySelectorAll("figure svg")].flatMap((svg) => {
              const frame = svg.getBoundingClientRect();
              return [...svg.querySelectorAll("text")].filter((text) => {
                const box = text.getBoundingClientRect();
                return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
                  box.bottom > frame.bottom + 1;
              }).map((text) => text.textContent);
            })"""
        )
        assert outside == []


class TestEverybody:
    def test_dark_is_dark(self, shown: Open) -> None:
        found = {}
        for scheme in ("light", "dark"):
            page = shown("everything", scheme=scheme).page
            found[scheme] = [
                luminance(page.evaluate(f"getComputedStyle(document.body).{name}"))
                for name in ("backgroundColor", "color")
            ]
        assert found["dark"][0] < 0.05 < 0.6 < found["dark"][1]
        assert found["light"][1] < 0.05 < 0.6 < found["light"][0]

    @pytest.mark.parametrize("name", ["everything", "hostile"])
    @pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
    def test_it_is_never_wider_than_its_window(self, shown: Open, name: str, size: tuple[int, int]) -> None:
        page = shown(name, size=size).page
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert wider_than_its_window(page) <= 0

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_has_nothing_to_object_to(self, shown: Open, scheme: str) -> None:
        from axe_playwright_python.sync_playwright import Axe

        page = shown("everything", scheme=scheme).page
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []

    def test_without_scripts_every_cell_is_there(self, shown: Open) -> None:
        page = shown("everything", script=False).page
        wanted = [column.text(row) for row in NUMBERS_TABLE.rows for column in NUMBERS_TABLE.columns]
        assert page.locator("#s-gate tbody tr > *").all_inner_texts() == wanted
        assert wanted.count("-") == (*NUMBERS, *WORDS).count(None)
        assert page.locator("figure svg").count() == len(report_sections.CHARTS)

    @pytest.mark.parametrize("way", ["address", "link"])
    def test_a_link_opens_the_folded_part_it_leads_into(self, shown: Open, way: str) -> None:
        page = shown("everything", part="#s-run" if way == "address" else "").page
        folded = page.locator("#s-run details")
        if way == "link":
            assert folded.get_attribute("open") is None
            page.get_by_role("link", name="This run").click()
        sync_api.expect(folded).to_have_attribute("open", "")  # the page is told of its new address a moment later
        sync_api.expect(page.get_by_text("Machine: made up.")).to_be_visible()

    @pytest.mark.parametrize(
        ("name", "size", "scheme"), [("light", DESK, "light"), ("dark", DESK, "dark"), ("phone", PHONE, "light")]
    )
    def test_it_is_photographed(
        self, shown: Open, screenshots: Path, name: str, size: tuple[int, int], scheme: str
    ) -> None:
        path = screenshots / f"{name}.png"
        shown("everything", size=size, scheme=scheme).page.screenshot(path=path, full_page=True)
        with Image.open(path) as image:
            assert image.width == size[0]
            assert image.height > size[1]


class TestHostile:
    def test_no_text_runs(self, shown: Open) -> None:
        page = shown("hostile").page
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        page.wait_for_timeout(100)  # an image that fails to load would take a moment
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert page.locator("img, iframe, object, body script ~ script").count() == 0
        assert page.locator("script").count() == 1

    def test_every_text_is_there_as_text(self, shown: Open) -> None:
        page = shown("hostile", script=False).page
        said = page.locator("p.lead").all_text_contents()
        assert said == [page_text(text) for text in report_sections.HOSTILE]


def page_text(text: str) -> str:
    from perfgate.report import printable

    return printable(text)


@pytest.mark.slow
class TestLarge:
    def test_300_cases_are_small_enough(self, files: Callable[[str], Path]) -> None:
        assert files("large").stat().st_size < LARGEST_BYTES

    def test_300_cases_open_fast_enough(self, shown: Open, files: Callable[[str], Path]) -> None:
        page, took = shown("large").page, []
        for _ in range(3):
            before = browsers_cpu_s()
            page.goto(files("large").as_uri(), wait_until="load")
            took.append(browsers_cpu_s() - before)
        assert page.locator("tbody tr").count() == 900
        assert 0 < min(took) < SLOWEST_S


def browsers_cpu_s() -> float:
    """Seconds that all processes of the browser have computed: unlike the wall clock it does not count those in which
    other programs had the core."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            times = process.cpu_times()
            total += times.user + times.system
    return total
