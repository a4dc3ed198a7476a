import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from blindsight.cli import app, files
from blindsight.cli.output import Failure


@pytest.mark.parametrize(
    ("name", "media_type", "safe"),
    [
        ("beach.jpg", "image/jpeg", "beach.jpg"),
        ("beach.JPEG", "image/jpeg", "beach.JPEG"),
        ("sub/folder/beach.png", "image/png", "beach.png"),
        ("beach.jpg", "image/png", "beach.png"),
        ("2024.12.24 evening", "image/jpeg", "2024.12.24 evening.jpg"),
        ("../../etc/passwd", "image/jpeg", "passwd.jpg"),
        ("..\\..\\boot.ini", "image/png", "boot.png"),
        ("/", "image/jpeg", "photo.jpg"),
        ("..", "image/jpeg", "photo.jpg"),
        (".bashrc", "image/jpeg", "bashrc.jpg"),
        ("", "image/webp", "photo.webp"),
        ("a\nb\x1b[31m\0.jpg", "image/jpeg", "a_b_[31m_.jpg"),
        ("bidi\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "image/jpeg", "bidi_gpj.jpg"),
        ("Ääh.tif", "image/tiff", "Ääh.tif"),
        ("what", "application/x-unheard-of", "what"),
        ("scan.ppm", "image/x-portable-anymap", "scan.ppm"),
        ("scan.ppm", "image/png", "scan.png"),
        ("notes.txt", "application/octet-stream", "notes.txt"),
    ],
)
def test_a_name_becomes_one_harmless_part_with_a_fitting_suffix(name, media_type, safe):
    assert files.safe_name(name, media_type) == safe


def test_a_long_name_still_fits_into_a_folder(tmp_path):
    safe = files.safe_name("ü" * 5000 + ".jpg", "image/jpeg")
    (tmp_path / f"0001-01-{safe}").write_bytes(b"x")
    assert safe.endswith("ü.jpg")


def test_a_new_file_never_takes_the_place_of_another(tmp_path):
    (tmp_path / "there.jpg").write_bytes(b"mine")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    for name in ("there.jpg", "link.jpg"):
        with pytest.raises(Failure, match=f"{name} is there already, want -o FILE"):
            files.write_new(tmp_path / name, b"bytes")
    assert (tmp_path / "there.jpg").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jpg", "there.jpg"]
    files.write_new(tmp_path / "new.jpg", b"bytes")
    assert (tmp_path / "new.jpg").read_bytes() == b"bytes"


def test_a_new_file_that_does_not_fit_on_the_disk_is_none(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(Failure, match="cannot write"):
            files.write_new(tmp_path / "new.jpg", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_with_the_usual_mode(tmp_path):
    umask = os.umask(0o027)
    try:
        files.write(tmp_path / "photo.jpg", b"bytes")
    finally:
        os.umask(umask)
    assert (tmp_path / "photo.jpg").read_bytes() == b"bytes"
    assert stat.S_IMODE((tmp_path / "photo.jpg").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_an_older_file_is_replaced_and_who_reads_it_keeps_it(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        files.write(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


WAYS = [lambda path: files.write(path, b"bytes"), files.require_writable]


@pytest.mark.parametrize("way", WAYS, ids=["written", "asked"])
def test_a_folder_is_not_overwritten(tmp_path, way):
    with pytest.raises(Failure, match="is a folder"):
        way(tmp_path)


@pytest.mark.parametrize("way", WAYS, ids=["written", "asked"])
@pytest.mark.parametrize("place", ["missing/photo.jpg", "file/photo.jpg", "x" * 300])
def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, place, way):
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="cannot write"):
        way(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    for name in ("old.png", "new.png"):
        files.require_writable(tmp_path / name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.png", b"old")]


def test_a_folder_is_made_with_its_parents(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("way", [files.make_folder, files.require_folder], ids=["made", "asked"])
@pytest.mark.parametrize("place", ["file", "file/below", "file/below/that", "link"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, place, way):
    Path(tmp_path / "file").touch()
    Path(tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Failure, match="cannot make the folder"):
        way(tmp_path / place)


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "a" / "b", Path("a/b"), tmp_path):
        files.require_folder(place)
    assert not list(tmp_path.iterdir())


# Nobody serves at this port: what is asked of a vault fails.
NOBODY = ("--address", "127.0.0.1:1")
REPORTING = {
    "search": ("search", "album", "a.png"),
    "diff": ("diff", "a.png", "b.png", "-o", "difference.png"),
}


@pytest.mark.parametrize("name", REPORTING)
def test_a_report_of_a_call_that_fails_leaves_no_folder(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert app.run([*REPORTING[name], "--report", "new/report", *NOBODY]) == 1
    assert "no keyholder answers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", REPORTING)
def test_a_report_that_has_no_place_is_refused_before_the_call(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"kept")
    assert app.run([*REPORTING[name], "--report", "file", *NOBODY]) == 1
    assert "cannot make the folder file: Not a directory" in capsys.readouterr().err
    assert Path("file").read_bytes() == b"kept"


def no_plain_file(kind: str, folder: Path) -> Path:
    path = folder / "out.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        path.symlink_to(folder / "target.png")
        if kind == "link":
            (folder / "target.png").write_bytes(b"longer than what comes")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "link to nothing"])
def test_what_is_no_plain_file_is_written_to_and_stays(tmp_path, kind):
    path = no_plain_file(kind, tmp_path)
    before = path.lstat()
    files.require_writable(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if kind == "pipe" else None
    files.write(path, b"bytes")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    if reader is not None:
        assert os.read(reader, 99) == b"bytes"
        os.close(reader)
    if kind.startswith("link"):
        assert (tmp_path / "target.png").read_bytes() == b"bytes"


def test_a_socket_is_not_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(tmp_path / "out.png"))
        with pytest.raises(Failure, match="cannot write"):
            files.write(tmp_path / "out.png", b"bytes")
    assert stat.S_ISSOCK((tmp_path / "out.png").lstat().st_mode)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_is_known_by_every_name_and_goes_on_where_it_was(tmp_path, name):
    says = f"""
from pathlib import Path
from blindsight.cli import files
print("before")
assert files.is_standard_output(Path({name!r}))
files.require_writable(Path({name!r}))
files.write(Path({name!r}), b"bytes")
print("after")
"""
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", says], stdout=out, check=True, timeout=60)
    assert (tmp_path / "out").read_bytes() == b"before\nbytesafter\n"


def test_a_file_that_others_may_not_read_stays_so(tmp_path):
    path = tmp_path / "photo.jpg"
    path.touch(mode=0o600)
    files.write(path, b"bytes")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_made_behind_a_link_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "made")
    files.write(tmp_path / "link", b"photo")
    files.write(tmp_path / "plain", b"photo")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode
