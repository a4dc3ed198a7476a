import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image
from support import comparison
from support.comparison import BFV, CKKS, NAIVE_BFV, NAIVE_CKKS, PAILLIER, plain, results

from blindsight.cli.compare import page, plots
from blindsight.cli.compare.results import Images, LeftOut, document
from blindsight.cli.compare.verdict import verdict

VOID = {"meta", "img", "br", "path", "use", "rect"}
ALL = (CKKS, BFV, NAIVE_CKKS, NAIVE_BFV, PAILLIER, plain())


class Reader(HTMLParser):
    """Checks that elements are closed in order; keeps the texts of table cells, row by row."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()


def rendered(found):
    return page.render(found, verdict(found), comparison.task())


@pytest.mark.parametrize(
    "rows", [ALL, (CKKS, BFV, plain()), (PAILLIER, plain()), (NAIVE_BFV,), (CKKS,)], ids=len
)
def test_every_row_has_a_cell_in_every_column_whatever_is_missing(rows):
    head, *body = [cells for cells in Reader(rendered(results(*rows))).rows if len(cells) == 8]
    assert head[0] == "scheme"
    assert len(body) == len(rows)
    for cells, row in zip(body, rows, strict=True):
        assert cells[0].startswith(row.name)
        assert all(cells)


def test_the_page_needs_no_other_file_and_no_network():
    text = rendered(results(*ALL))
    assert "http" not in text.replace("color-scheme", "")
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', text)
    assert "@import" not in text
    assert "<script" not in text


def test_every_colour_of_a_drawing_follows_the_page():
    text = rendered(results(*ALL))
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) == 2 * len(plots.PLOTS)
    for drawing in drawings:
        assert not re.search(r"#[0-9a-f]{6}\b", drawing), "a colour that the dark page does not know"
    used = {name for drawing in drawings for name in re.findall(r"var\(--(\w+)\)", drawing)}
    dark = text[text.index("prefers-color-scheme: dark") :]
    assert used
    assert all(f"--{name}:" in dark for name in used)


def test_no_two_elements_share_an_id():
    ids = re.findall(r' id="([^"]+)"', rendered(results(*ALL)))
    assert len(ids) == len(set(ids))


def test_what_was_scaled_up_says_so_in_the_table_and_in_the_drawings():
    text = rendered(results(*ALL))
    assert text.count('<span class="scaled">') == 6
    assert "was measured on a sample and scaled up" in text
    assert "≈ from 8 encryptions and 12 comparisons" in text
    assert "≈ 22.8 s" in text
    whole = rendered(results(CKKS, BFV, plain()))
    assert '<span class="scaled">' not in whole
    assert "All of it was measured in full." in whole


def test_what_was_left_out_says_why_and_cannot_break_the_page():
    missing = tuple(LeftOut(name, "it & its program failed") for name in ("naive <BFV>", "Paillier"))
    text = rendered(results(CKKS, BFV, left_out=missing))
    assert "Left out: naive &lt;BFV&gt;, Paillier, since it &amp; its program failed." in text


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (Images(100, 100, 0), "100 photos."),
        (Images(1001, 17, 0), "1,001 photos: 17 given photos, and 984 made by altering."),
        (Images(8, 1, 1), "8 photos: 1 given photo, and 7 made by altering; 1 file was skipped"),
    ],
)
def test_the_page_says_how_many_photos_are_real(images, said):
    assert said in rendered(results(CKKS, BFV, images=images))


def test_a_similarity_that_none_can_be_is_marked():
    text = rendered(results(NAIVE_BFV))
    assert '<span class="no">\N{MINUS SIGN}0.400</span>' in text
    assert '<span class="no">no number</span>' in text


@pytest.mark.parametrize("rows", [ALL, (CKKS, BFV), (NAIVE_BFV,), (replace(CKKS, max_error=0.0),)], ids=len)
def test_every_plot_is_a_picture_of_a_readable_size(rows):
    files = plots.pngs(results(*rows))
    assert set(files) == {"time-to-compare", "error", "bytes-per-image", "stages"}
    for data in files.values():
        image = Image.open(io.BytesIO(data))
        image.load()
        assert image.width == 1600
        assert len(image.getcolors(1 << 20)) > 16


def test_the_document_is_strict_json_with_every_figure():
    found = results(*ALL, left_out=(LeftOut("x", "y"),))
    read = json.loads(json.dumps(document(found, verdict(found)), allow_nan=False))
    schemes = {row["name"]: row for row in read["schemes"]}
    assert schemes["naive CKKS"]["scaled"] == ["encrypt_seconds", "compare_seconds", "decrypt_seconds"]
    assert schemes["ckks-4096"]["search_seconds"] == pytest.approx(0.06)
    assert (schemes["naive BFV"]["max_error"], schemes["naive BFV"]["right"]) == (None, 1)
    assert read["left_out"] == [{"name": "x", "reason": "y"}]
    assert read["verdict"] == verdict(found)
