import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import oddities
from support.photos import encoded, photo

from blindsight.client import Box, PhotoVector, kinds
from blindsight.client.inputs import Photo, Sieve, expand, load, single
from blindsight.client.sources import MAX_NAME_BYTES, Source
from blindsight.errors import InvalidArgument, InvalidImage, InvalidVector, ResourceExhausted
from blindsight.runtime.transfer import MAX_PHOTO_BYTES

RED = (255, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["a.jpg", "b.png", "notes.txt", ".hidden.jpg", "sub/c.jpg", "sub/deep/d.jpg", ".git/e.jpg"]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "photos"


def names(inputs) -> list[str]:
    return [source.name for source in expand(inputs)[0]]


def pixels(source) -> Image.Image:
    return Image.open(io.BytesIO(source.load()))


def test_a_folder_is_searched_recursively_and_hidden_files_are_left_out(folder):
    assert names(folder) == ["a.jpg", "b.png", "notes.txt", "sub/c.jpg", "sub/deep/d.jpg"]


@pytest.mark.parametrize("everything", [False, True])
def test_hidden_files_and_folders_of_a_folder_are_counted_once_each(folder, everything):
    sieve = Sieve(any=everything)
    found = [source.name for source in expand([folder, folder / "*.jpg"], sieve)[0]]
    assert not [name for name in found if ".hidden" in name or ".git" in name]
    assert (sieve.hidden, sieve.skipped) == (2, 2 if everything else 3)  # .hidden.jpg, .git; notes.txt


@pytest.mark.parametrize("inputs", ["", [""], [("name", "")]])
def test_an_empty_path_is_an_error(inputs):
    with pytest.raises(InvalidArgument, match="an empty path, want a file, a folder or a glob"):
        expand(inputs)
    with pytest.raises(InvalidArgument, match="an empty path"):
        single("")


def test_a_hidden_file_that_is_named_is_taken(folder):
    assert names(folder / ".hidden.jpg") == [".hidden.jpg"]


def test_a_file_is_called_by_its_name_and_labelled_by_its_path(folder):
    [source] = expand([str(folder / "sub" / "c.jpg")])[0]
    assert (source.name, source.label) == ("c.jpg", str(folder / "sub" / "c.jpg"))
    assert source.load() == b"sub/c.jpg"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "sub/c.jpg", "sub/deep/d.jpg"]),
        ("sub/*.jpg", ["c.jpg"]),
        ("**", ["a.jpg", "b.png", "notes.txt", "sub/c.jpg", "sub/deep/d.jpg"]),
        ("[ab].*", ["a.jpg", "b.png"]),
    ],
)
def test_a_glob_is_expanded(folder, pattern, found):
    assert names(f"{folder}/{pattern}") == found


def test_a_glob_that_matches_a_folder_takes_what_is_in_it(folder):
    assert names(f"{folder}/s*") == ["c.jpg", "deep/d.jpg"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    for name in ["[a].jpg", "a.jpg"]:
        (tmp_path / name).write_bytes(b"x")
    assert names(str(tmp_path / "[a].jpg")) == ["[a].jpg"]


def test_a_file_that_is_found_twice_is_sent_once(folder):
    sources, total = expand([str(folder), f"{folder}/*.jpg", str(folder / "a.jpg")])
    assert total == len(list(sources)) == 5


@pytest.mark.parametrize("missing", ["nowhere", "nowhere/*.jpg", "*.webp"])
def test_a_path_that_does_not_exist_is_refused_before_any_file_is_read(folder, missing):
    with pytest.raises(InvalidArgument, match=r"no such file or folder|no file matches"):
        expand([str(folder / "a.jpg"), f"{folder}/{missing}"])


def test_a_file_that_holds_more_than_its_size_says_is_read_whole():
    # As one that grew just then: the kernel's files have a size of 0.
    [source] = expand("/proc/version")[0]
    assert source.load() == Path("/proc/version").read_bytes() != b""


def test_a_path_that_the_system_refuses_is_one_line(tmp_path):
    with pytest.raises(InvalidArgument, match=r"cannot use .*: File name too long"):
        expand([str(tmp_path / ("x" * 300))])


def test_a_folder_is_counted_without_reading_its_files(folder):
    (folder / "a.jpg").unlink()
    os.mkfifo(folder / "a.jpg")  # reading it would wait for ever
    assert expand(folder)[1] == 5


def test_a_pipe_that_is_found_is_rejected_and_not_waited_for(folder):
    os.mkfifo(folder / "a0.jpg")
    found = {source.name: source for source in expand([folder])[0]}
    with pytest.raises(InvalidImage, match="not a regular file"):
        found["a0.jpg"].load()


@pytest.mark.parametrize("way", [single, lambda path: expand([path])[0][0]], ids=["single", "expanded"])
def test_a_pipe_that_is_named_is_read_once_and_may_be_sent_again(folder, way):
    os.mkfifo(folder / "pipe.jpg")
    writing = threading.Thread(target=(folder / "pipe.jpg").write_bytes, args=(b"from a pipe",))
    writing.start()
    source = way(folder / "pipe.jpg")
    assert [source.load(), source.load()] == [b"from a pipe"] * 2
    writing.join()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_read_from_where_it_stands(tmp_path, name):
    says = f"from blindsight.client import inputs; assert inputs.single({name!r}).load() == b'rest'"
    (tmp_path / "in").write_bytes(b"beginrest")
    with (tmp_path / "in").open("rb", buffering=0) as given:
        given.read(5)
        subprocess.run([sys.executable, "-c", says], stdin=given, check=True, timeout=60)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"rest")
        ours.shutdown(socket.SHUT_WR)
        subprocess.run([sys.executable, "-c", says], stdin=theirs, check=True, timeout=60)


def told(source) -> str:
    with pytest.raises(InvalidImage) as caught:
        source.load()
    return caught.value.message


@pytest.mark.parametrize("pattern", ["", "/**/*.jpg", "/**"])
def test_links_to_folders_are_left_out_with_a_word_and_rings_of_them_end(folder, pattern):
    for number in range(8):  # each doubles the paths that whoever follows them finds
        (folder / f"ring{number}").symlink_to(folder)
    found = {source.name: source for source in expand([f"{folder}{pattern}"])[0]}
    assert {name for name in found if name.endswith(".jpg")} == {"a.jpg", "sub/c.jpg", "sub/deep/d.jpg"}
    links = [name for name in found if name.startswith("ring")]
    assert len(links) == 8
    assert all("a link to a folder" in told(found[name]) for name in links)


def test_a_link_to_a_folder_that_is_named_or_matched_is_followed(folder):
    (folder / "link").symlink_to(folder / "sub")
    assert names(folder / "link") == names(f"{folder}/lin?") == ["c.jpg", "deep/d.jpg"]
    assert names(f"{folder}/*/c.jpg") == ["link/c.jpg", "sub/c.jpg"]


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of everybody's, while this process has no rights: root may list any folder."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        was = os.geteuid()
        yield Path(made)
        os.seteuid(was)


@pytest.mark.parametrize("pattern", ["", "/**/*.jpg", "/**", "/*/*"])
def test_a_folder_that_cannot_be_listed_does_not_stop_the_others(nobody, pattern):
    for name in ("closed", "open"):
        (nobody / name).mkdir()
        (nobody / name / "a.jpg").write_bytes(b"a")
    (nobody / "closed").chmod(0)
    os.seteuid(os.geteuid() or 65534)
    found = {source.name: source for source in expand([f"{nobody}{pattern}"])[0]}
    assert found["open/a.jpg"].load() == b"a"
    assert told(found["closed"]) == "cannot list the folder: Permission denied"
    assert len(found) == 2
    with pytest.raises(InvalidArgument, match="closed: cannot list the folder"):
        expand([nobody / "closed"])


def test_a_path_that_is_too_long_for_the_system_is_left_out_alone(folder):
    where = os.open(folder, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("z" * 250, dir_fd=where)
        below = os.open("z" * 250, os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = below
    os.close(where)
    found = {source.name: source for source in expand(folder)[0]}
    assert {"a.jpg", "sub/c.jpg", "sub/deep/d.jpg"} <= set(found)
    assert [told(one) for name, one in found.items() if "zz" in name] == [
        "cannot be read: File name too long"
    ]


def test_a_path_that_is_longer_than_a_name_may_be_keeps_its_end(folder):
    deep = folder.joinpath(*["ü" * 100] * 8)
    deep.mkdir(parents=True)
    (deep / "last.jpg").write_bytes(b"x")
    [name] = [name for name in names(folder) if name.endswith("last.jpg")]
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name == "…/" + "ü" * 100 + "/" + "/".join(["ü" * 100] * 4) + "/last.jpg"


def test_the_home_of_a_path_in_quotes_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/a.jpg") == names(["~/*.jpg"]) == ["a.jpg"]
    assert single("~/a.jpg").load() == b"a.jpg"
    monkeypatch.chdir(folder)
    (folder / "~").mkdir()
    (folder / "~" / "a.jpg").write_bytes(b"of that name")
    assert single("~/a.jpg").load() == b"of that name"


@pytest.mark.parametrize("kind", [InvalidImage, ResourceExhausted])
def test_a_photo_that_cannot_be_loaded_is_named(kind):
    def fail():
        raise kind("no photo", limit=3)

    with pytest.raises(kind, match=r"^a/b\.jpg: no photo$") as caught:
        load(Source("a/b.jpg", "b.jpg", fail, on_disk=True))
    assert caught.value.metadata == {"limit": "3"}
    with pytest.raises(kind, match=r"^no photo$"):
        load(Source("input 0", "", fail))


def test_a_file_that_vanished_is_rejected_when_its_turn_comes(folder):
    sources = list(expand(folder)[0])
    (folder / "b.png").unlink()
    assert sources[0].load() == b"a.jpg"
    with pytest.raises(InvalidImage, match="cannot be read: No such file"):
        sources[1].load()


def test_a_link_that_leads_nowhere_is_rejected_alone(tmp_path):
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(InvalidImage, match="cannot be read"):
        next(iter(expand(tmp_path)[0])).load()


def test_a_file_over_the_limit_is_rejected_without_reading_it(tmp_path):
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_PHOTO_BYTES + 1)  # sparse: takes no room
    with pytest.raises(ResourceExhausted, match=f"photo of {MAX_PHOTO_BYTES + 1} bytes"):
        single(path).load()


def test_bytes_over_the_limit_are_rejected():
    with pytest.raises(ResourceExhausted):
        single(bytes(MAX_PHOTO_BYTES + 1)).load()


def test_an_empty_file_is_for_the_keyholder_to_judge(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert single(tmp_path / "empty.jpg").load() == b""


def test_a_name_that_is_no_utf8_can_still_be_sent(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(path)).write_bytes(b"x")
    [source] = expand(tmp_path)[0]
    assert source.name == "caf\N{REPLACEMENT CHARACTER}.jpg"
    assert source.load() == b"x"


@pytest.mark.parametrize("data", [b"\xff\xd8jpeg", bytearray(b"\xff\xd8jpeg"), memoryview(b"\xff\xd8jpeg")])
def test_bytes_are_sent_as_they_are(data):
    sources, total = expand(data)
    assert total == 1
    assert [source.load() for source in sources] == [b"\xff\xd8jpeg"]


def test_a_pair_names_what_has_no_name():
    sources, _ = expand([("first.jpg", b"1"), ("second.jpg", b"2")])
    assert [(source.name, source.load()) for source in sources] == [("first.jpg", b"1"), ("second.jpg", b"2")]


def test_a_single_pair_is_one_photo_and_two_paths_are_two(folder):
    assert names(("first.jpg", b"1")) == ["first.jpg"]
    assert names((str(folder / "a.jpg"), str(folder / "b.png"))) == ["a.jpg", "b.png"]


def test_a_pillow_image_becomes_a_png_with_the_same_pixels():
    image = Image.linear_gradient("L").convert("RGB")
    sent = pixels(single(image))
    assert sent.format == "PNG"
    assert np.array_equal(np.asarray(sent), np.asarray(image))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "F", "I"]
)
def test_an_image_of_any_mode_can_be_sent(mode):
    assert pixels(single(Image.new(mode, (5, 7)))).size == (5, 7)


def test_the_orientation_of_an_opened_photo_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        sent = pixels(single(opened))
    assert sent.size == (4, 8)
    assert sent.getpixel((3, 0)) == RED


def test_a_truncated_photo_opened_with_pillow_is_rejected(tmp_path):
    encoded = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(encoded, "JPEG")
    opened = Image.open(io.BytesIO(encoded.getvalue()[:2000]))
    with pytest.raises(InvalidImage, match="cannot be encoded"):
        single(opened).load()


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 3)])
def test_an_array_is_sent_pixel_by_pixel(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(pixels(single(values))), values)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
    ids=["floats", "two-channels", "a-stack", "empty", "a-row"],
)
def test_an_array_that_is_no_photo_is_rejected(values):
    with pytest.raises(InvalidImage, match=r"want uint8 \[height, width\]"):
        single(values).load()


def test_an_iterator_is_read_one_by_one():
    made = []

    def photos():
        for number in range(3):
            made.append(number)
            yield f"{number}.jpg", bytes([number])

    sources, total = expand(photos())
    assert total is None
    iterator = iter(sources)
    assert next(iterator).name == "0.jpg"
    assert made == [0]
    assert [source.name for source in iterator] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("wrong", [7, None, [7], [("name", 7)], [["a.jpg"]]])
def test_what_is_no_photo_is_refused_with_its_type(wrong):
    with pytest.raises(InvalidArgument, match="of type"):
        expand(wrong)


@pytest.mark.parametrize(
    ("given", "said"), [("gone.jpg", "no such file"), (".", "is a folder"), ("x" * 300, "File name too long")]
)
def test_a_search_wants_one_photo(tmp_path, given, said):
    with pytest.raises(InvalidArgument, match=said):
        single(tmp_path / given)


# --- what is a photo -----------------------------------------------------------------------------------


PHOTO = photo("coffee", 32)
FORMS = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]


@pytest.mark.parametrize("form", FORMS)
def test_a_photo_is_known_by_its_content_whatever_it_is_called(form):
    for mode in ("RGB", "L"):
        assert kinds.is_photo("IMG_0001", encoded(PHOTO.convert(mode), form)[:16])
    assert kinds.is_photo("IMG_0001", oddities.heic(PHOTO)[:16])


@pytest.mark.parametrize("name", ["a.jpg", "DSC_1.NEF", "below/a.HEIC", "a.b.tiff"])
def test_a_photo_is_known_by_its_name_whatever_it_holds(name):
    assert kinds.is_photo(name, b"Dear diary")


OTHERS = [
    b"",
    b"Dear diary",
    b"%PDF-1.7",
    b"PK\3\4",
    b"BM is a text",
    b"P1 is a text",
    b"II. Chapter",
    b"RIFF1234WAVE",
]


@pytest.mark.parametrize("head", [*OTHERS, b"\0\0\0\x18ftypisom\0\0\2\0", b"\x7fELF", b"\x89PNG"])
def test_what_is_no_photo_is_known_as_none(head):
    assert not kinds.is_photo("notes.txt", head)


def test_files_of_a_folder_that_are_no_photos_are_left_out_and_counted(folder):
    (folder / "scan").write_bytes(encoded(PHOTO, "PNG"))
    os.mkfifo(folder / "pipe")  # opening it would wait for ever
    sieve = Sieve()
    sources, total = expand([folder, f"{folder}/*.txt"], sieve)
    assert [source.name for source in sources] == ["a.jpg", "b.png", "scan", "sub/c.jpg", "sub/deep/d.jpg"]
    assert (total, sieve.skipped - sieve.hidden) == (5, 2)
    everything = Sieve(any=True)
    assert (expand(folder, everything)[1], everything.skipped - everything.hidden) == (7, 0)


def test_an_iterators_files_are_sifted_as_they_come(folder):
    sieve = Sieve()
    sources, total = expand(iter([folder, folder / "a.jpg"]), sieve)
    assert (total, sieve.skipped) == (None, 0)
    assert (len(list(sources)), sieve.skipped - sieve.hidden) == (5, 1)


def test_a_file_that_is_named_and_is_no_photo_is_refused_when_it_is_read(folder):
    for named in (folder / "notes.txt", b"Dear diary", ("notes", b"Dear diary")):
        (source,), total = expand(named, Sieve())
        assert total == 1
        with pytest.raises(InvalidImage, match=r"no photo by its name or content: want one, or --any"):
            source.load()
        (kept,), _ = expand(named, Sieve(any=True))
        assert kept.load()
    for named in (folder / "a.jpg", ("a.jpg", b"Dear diary"), encoded(PHOTO), PHOTO, b""):
        (source,), _ = expand(named, Sieve())
        source.load()


@pytest.mark.parametrize("given", [Path(), [Path()], [("name", Path())], Photo(Path()), [Path(), "a.jpg"]])
def test_a_path_that_pathlib_takes_for_this_folder_is_an_empty_one(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"a photo by its name")
    with pytest.raises(InvalidArgument, match="an empty path, want a file"):
        expand(given)
    assert [one.name for one in expand(".")[0]] == [one.name for one in expand(Path.cwd())[0]] == ["a.jpg"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"metadata": {"year": float("nan")}}, "metadata 'year': nan, want a number"),
        ({"metadata": {"no key": 1}}, "metadata key 'no key', want a word"),
        ({"vector": [1, float("nan")]}, "vector of a photo: row 0 has a NaN"),
        ({"vectors": [[1, 2], ["a", 2]]}, "vector 1 of a photo: vectors of type text"),
        (
            {"vectors": [PhotoVector([1, 2], "Ann", Box("a", 0, 1, 1))]},
            "want numbers for left, top, width and",
        ),
        ({"vectors": [PhotoVector([1, 2], "Ann", Box(0, 0, 0, 1))]}, "the last two over 0"),
        ({"vectors": [PhotoVector([1, 2], 3)]}, "want a text as its name"),
        ({"vector": [1, 2], "vectors": [[1, 2]]}, "want one of them"),
    ],
)
def test_an_error_in_what_is_said_of_one_of_many_photos_names_it(folder, told, said):
    others = [Photo(folder / "a.jpg", id="other"), Photo(folder / "b.png", id="another")]
    for named, photo_of in [
        ("item 'mine'", Photo(b"bytes", id="mine", **told)),
        (f"{folder}/a.jpg", Photo(folder / "a.jpg", **told)),
        ("input 2", Photo(b"bytes", **told)),
    ]:
        with pytest.raises((InvalidArgument, InvalidVector)) as raised:
            expand([*others, photo_of])
        assert raised.value.message.startswith(f"{named}: ")
        assert said in raised.value.message
