"""The browser page from the first words to a file, with a killed server between, and two people on one mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from maskwright.files.logins import set_password
from maskwright.project import Project
from maskwright_app.samples import samples
from tests.app.conftest import Page, served
from tests.app.page.conftest import accept, click, disc, drag, press, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]

PHOTOS = ("000000000072.jpg", "000000000086.jpg", "000000000257.jpg", "000000000360.jpg")
SELECTED = '#masks [aria-selected="true"]'


class Team:
    """A server for ann and bob on a project of four photographs, which can be killed and started again."""

    def __init__(self, folder: Path, browser: Any) -> None:
        self.project, self._logins, self._browser = folder / "walk ü #1", folder / "logins.txt", browser
        self._running = ExitStack()
        for name in ("ann", "bob"):
            set_password(self._logins, name, f"secret of {name}")
        paths = {sample.path.name: sample.path for sample in samples()}
        with Project.open(self.project, create=True) as project:
            self.images = [int(project.add(paths[name])[0].record.id) for name in PHOTOS]
        self.start()

    def start(self) -> None:
        options = ("--device", "cpu", "--auth-file", str(self._logins))
        self.page: Page = self._running.enter_context(served(self.project, *options))

    def kill(self) -> None:
        self.page.process.kill()
        self.close()

    def close(self) -> None:
        self._running.close()

    def tab(self, name: str, image: int) -> Any:
        """A browser of somebody's own, logged in."""
        context = self._browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script("localStorage.setItem('walked', 'yes')")
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(self.page.url)
        tab.fill("[name=username]", name)
        tab.fill("[name=password]", f"secret of {name}")
        tab.click("button")
        tab.wait_for_selector("body[data-ready]")
        tab.goto(f"{self.page.url}#{image}")
        tab.reload()
        tab.wait_for_selector("body[data-ready] #stage[data-loaded=yes]")
        return tab


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Team]:
    team = Team(tmp_path_factory.mktemp("walk"), browser)
    yield team
    team.close()


def choose(tab: Any, name: str) -> str:
    """Select the first mask of a class in the list; its key."""
    press(tab, "Escape", "s")
    tab.locator("#masks .mask-row", has_text=name).first.click()
    chosen = tab.locator(SELECTED, has_text=name)
    chosen.wait_for()
    tab.focus("#stage")
    return str(chosen.get_attribute("data-key"))


def answered(tab: Any, path: str, key: str) -> dict[str, Any]:
    """Press a key that runs a prompt; the server's answer once the page shows it."""
    with tab.expect_response(f"**/ui/prompts/{path}") as response:
        press(tab, key)
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    answer: dict[str, Any] = response.value.json()
    tab.wait_for_function(
        "number => document.querySelectorAll('#masks .mask-row .swatch.dashed').length >= number",
        arg=sum(not mask["duplicate"] for mask in answer["masks"]),
    )
    return answer


@pytest.mark.parametrize("answer", ["Keep mine", "Take theirs"])
def test_two_people_on_one_mask_never_overwrite_each_other(team: Team, answer: str) -> None:
    image, server = team.images[3], team.page
    with Project.open(team.project) as project:
        height, width = project.images.open(image).size_hw
        mask = accept(server, image, disc(100, 100, 30, width, height), f"rock of {answer}")
    mine, theirs = team.tab("ann", image), team.tab("bob", image)
    # the news that the other has changed the mask does not arrive in time
    mine.route("**/ui/images/*/masks", lambda route: None)
    for tab in (mine, theirs):
        choose(tab, f"rock of {answer}")
        press(tab, "b")

    def now(revision: int, tab: Any) -> Any:
        rows = wait_stored(tab, server, image, lambda rows: any((r.id, r.revision) == (mask, revision) for r in rows))
        return next(row for row in rows if row.id == mask)

    drag(theirs, (110, 100), (200, 100))
    assert now(2, theirs).mask.to_array()[100, 195]
    drag(mine, (100, 110), (100, 200))
    button = mine.locator(".notice button", has_text=answer)
    button.wait_for()
    assert not now(2, mine).mask.to_array()[190, 100], "nothing is overwritten without a word"
    button.click()
    mine.locator("#saved", has_text="Saved").wait_for()
    row = now(3 if answer == "Keep mine" else 2, mine)
    assert row.mask.to_array()[190, 100] == (answer == "Keep mine")
    assert row.mask.to_array()[100, 195] == (answer == "Take theirs")
    with Project.open(team.project) as project:
        said = "\n".join(project.history(mask))
    assert ("ann" in said, "bob" in said) == (answer == "Keep mine", True)
    for tab in (mine, theirs):
        tab.context.close()


def test_from_words_to_a_file_with_a_killed_server_between(team: Team, tmp_path: Path) -> None:
    first, *others = team.images
    tab = team.tab("ann", first)
    tree = find_and_correct(team, tab, first)
    give_classes(team, tab, first)

    # one mask is the example on three more
    press(tab, "Escape")
    tab.click(f'#masks [data-key="{tree}"]')
    tab.focus("#stage")
    press(tab, "r")
    tab.locator(".notice", has_text="is an example now").wait_for()
    for image in others:
        press(tab, "n")
        tab.wait_for_function("id => location.hash === `#${id}`", arg=image)
        assert {mask["category"] for mask in answered(tab, "like", "r")["masks"]} == {"tree"}

    # above a certainty, undone, and what is open survives a reload
    def accepted(number: int) -> None:
        wait_stored(tab, team.page, others[-1], lambda rows: sum(row.category == "tree" for row in rows) == number)

    tab.fill("#above", "0")
    tab.click("#accept-above")
    accepted(1)
    tab.focus("#stage")
    press(tab, "Control+z")
    accepted(0)
    tab.reload()
    tab.wait_for_selector("#masks .mask-row .swatch.dashed")
    press(tab, "g")
    accepted(1)

    before = masks_of(team.project)
    assert {image for image, *_ in before.values()} == set(team.images)
    tab.context.close()
    team.kill()
    team.start()
    assert masks_of(team.project) == before
    tab = team.tab("ann", others[-1])
    tab.wait_for_selector("#masks .mask-row")
    tab.click("#open-files")
    with tab.expect_download() as download:
        tab.click("#export")
    file = tmp_path / "coco.json"
    download.value.save_as(file)
    coco = COCO(file)
    exported = {
        row["id"]: (row["image_id"], coco.cats[row["category_id"]]["name"], row["segmentation"]["counts"])
        for row in coco.anns.values()
    }
    assert exported == {key: (row[0], row[2], row[4]) for key, row in before.items() if row[1] == "accepted"}

    # enough to learn from: a run that somebody has second thoughts about
    tab.click("#open-finetune")
    tab.click("#drawer [data-act=start]")
    tab.click("#drawer .run [data-act=cancel]")
    tab.wait_for_selector("#drawer .run[data-state=cancelled]")
    tab.context.close()


def find_and_correct(team: Team, tab: Any, image: int) -> str:
    """Words, objects; then one mask by brush, one by polygon, one by clicks; the key of the tree."""

    def corrected(key: str) -> Any:
        rows = wait_stored(
            tab, team.page, image, lambda rows: any((f"stored:{row.id}", row.revision) == (key, 3) for row in rows)
        )
        return next(row for row in rows if f"stored:{row.id}" == key).mask.to_array()

    press(tab, "/")
    tab.keyboard.type("giraffe, tree")
    found = answered(tab, "text", "Enter")["masks"]
    assert sum(mask["category"] == "giraffe" for mask in found) >= 2, "one mask for each object"
    press(tab, "Shift+G")
    rows = wait_stored(tab, team.page, image, lambda rows: len(rows) == len(found))
    assert {row.annotator for row in rows} == {"ann"}
    tab.wait_for_selector(f"#masks .mask-row .swatch:not(.dashed) >> nth={len(found) - 1}")
    key = choose(tab, "giraffe")
    press(tab, "b")
    drag(tab, (160, 400), (20, 400))
    assert corrected(key)[400, 20]
    tree = choose(tab, "tree")
    press(tab, "p")
    for corner in ((120, 320), (150, 320), (150, 350), (120, 350)):
        click(tab, *corner)
    press(tab, "Enter")
    assert corrected(tree)[320:350, 120:150].all()
    # without a certainty now, the first giraffe is below the others
    key = choose(tab, "giraffe")
    press(tab, "c")
    click(tab, 250, 400)
    tab.wait_for_selector("#keep:not([disabled])")
    press(tab, "g")
    assert corrected(key)[400, 250]
    return tree


def give_classes(team: Team, tab: Any, image: int) -> None:
    """A key for a class, and with it another class for a mask."""
    press(tab, "Escape")
    tab.locator(".class-row", has_text="tree").locator(".edit").click()
    tab.select_option("#class-key", "7")
    tab.locator("dialog button", has_text="Save").click()
    tab.wait_for_selector("dialog", state="detached")
    key = choose(tab, "giraffe")
    press(tab, "7")
    wait_stored(tab, team.page, image, lambda rows: any((f"stored:{r.id}", r.category) == (key, "tree") for r in rows))


def masks_of(folder: Path) -> dict[int, tuple[int, str, str, int, str]]:
    """All masks of a project: image, state, class, revision, run lengths."""
    with Project.open(folder) as project:
        rows = project.annotations(states=("accepted", "proposed"))
    return {row.id: (row.image_id, row.state, row.category, row.revision, str(row.mask.rle["counts"])) for row in rows}
