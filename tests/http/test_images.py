"""Firmware images: names, versions, ranges, validators, and files that change under our hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.exchange import Request, RequestRefused, Response, Stream
from gateway.http.images import CHUNK_BYTES, ImageChanged, Images, byte_range, numeric_version

CONTENT = bytes(range(256)) * 1000
NAME = "esp-box-3_2.0.0.bin"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a directory with one image."""
    path = tmp_path / "images"
    path.mkdir()
    (path / NAME).write_bytes(CONTENT)
    return path


@pytest.fixture
def images(directory: Path) -> Images:
    """Return the images of that directory."""
    return Images(directory)


def asked(method: str = "GET", **headers: str) -> Request:
    """Make a request with some headers."""
    return Request(method, "/", {name.replace("_", "-"): value for name, value in headers.items()})


async def content(response: Response) -> bytes:
    """Return the body, which must be as long as it says."""
    if isinstance(response.body, bytes):
        return response.body
    got = b"".join([chunk async for chunk in response.body.chunks()])
    assert len(got) == response.body.length
    return got


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.2.3", (1, 2, 3)),
        ("0", ()),
        ("1.0.0", (1,)),
        ("01.002", (1, 2)),
        ("999999999.1", (999999999, 1)),
    ],
)
def test_numeric_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    """Numbers parted by dots, without trailing zeros."""
    assert numeric_version(text) == version


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "v1", "1.0-rc", "1 ", "+1", "-1", "１", "1.1000000000", "2147483648", "1\n"]
)
def test_what_would_abort_the_firmware_is_no_version(text: str) -> None:
    """A part that is empty, not all digits, or past an int is none."""
    assert numeric_version(text) is None


# --- the newest ---------------------------------------------------------------------------------------------------


async def test_the_newest_is_chosen_by_number(directory: Path, images: Images) -> None:
    """Versions are compared part by part as numbers, and only those of the board."""
    for name in ("a_1.9.0.bin", "a_1.10.0.bin", "a_1.2.bin", "b_7.bin", "a-b_9.bin", "aa_9.bin"):
        (directory / name).write_bytes(b"x")
    newest = await images.newest("a")
    assert newest is not None
    assert (newest.name, newest.version) == ("a_1.10.0.bin", "1.10.0")


async def test_a_board_may_have_an_underscore(directory: Path, images: Images) -> None:
    """The last underscore parts board and version."""
    (directory / "my_board_3.1.bin").write_bytes(b"x")
    newest = await images.newest("my_board")
    assert newest is not None
    assert newest.version == "3.1"
    assert await images.newest("my") is None


async def test_what_is_no_image_is_not_offered(directory: Path, images: Images) -> None:
    """Empty files, folders, hidden files, broken links, and names that do not fit are passed over."""
    (directory / "a_3.bin").write_bytes(b"")
    (directory / "a_4.bin").mkdir()
    (directory / ".a_5.bin").write_bytes(b"x")
    (directory / "a_6.bin").symlink_to(directory / "nowhere")
    (directory / "a_7-rc.bin").write_bytes(b"x")
    (directory / "a_8.bin.part").write_bytes(b"x")
    (directory / "a_1.bin").write_bytes(b"x")
    newest = await images.newest("a")
    assert newest is not None
    assert newest.version == "1"


@pytest.mark.parametrize("board", ["", "unknown", "..", "../images/esp-box-3", "*", "esp-box-3_2.0.0.bin", ".*"])
async def test_an_unknown_board_has_no_image(images: Images, board: str) -> None:
    """A board is looked for as it is, never as a pattern or a path."""
    assert await images.newest(board) is None


async def test_without_a_directory_there_are_no_images(tmp_path: Path) -> None:
    """Neither no directory nor one that is missing is an error for the device."""
    for images in (Images(None), Images(tmp_path / "missing")):
        assert await images.newest("esp-box-3") is None
        with pytest.raises(RequestRefused) as caught:
            await images.answer(asked(), NAME)
        assert caught.value.status == 404


# --- which files can be had -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "secret_1.bin",
        "../secret_1.bin",
        "..%2fsecret_1.bin",
        "/etc/passwd",
        "sub/x_1.bin",
        "sub_1.bin",
        ".hidden_1.bin",
        "outside_1.bin",
        "folder_1.bin",
        "notes.txt",
        NAME + "\x00",
        NAME + "\n",
        "a" * 300 + "_1.bin",
        "x\\y_1.bin",
    ],
)
async def test_nothing_but_images_can_be_had(directory: Path, images: Images, name: str) -> None:
    """Path parts, hidden files, links that lead out, folders and other files are not found."""
    (directory.parent / "secret_1.bin").write_bytes(b"secret")
    (directory / "sub").mkdir()
    (directory / "sub" / "x_1.bin").write_bytes(b"secret")
    (directory / "sub_1.bin").mkdir()
    (directory / ".hidden_1.bin").write_bytes(b"secret")
    (directory / "outside_1.bin").symlink_to(directory.parent / "secret_1.bin")
    (directory / "folder_1.bin").symlink_to(directory.parent)
    (directory / "notes.txt").write_bytes(b"secret")
    with pytest.raises(RequestRefused) as caught:
        await images.answer(asked(), name)
    assert caught.value.status == 404


async def test_a_link_inside_the_directory_is_followed(directory: Path, images: Images) -> None:
    """A link to another image of the directory is that image under another name."""
    (directory / "alias_1.bin").symlink_to(NAME)
    assert await content(await images.answer(asked(), "alias_1.bin")) == CONTENT


async def test_the_directory_itself_may_be_a_link(directory: Path) -> None:
    """What counts is where the directory really is."""
    link = directory.parent / "link"
    link.symlink_to(directory)
    assert await content(await Images(link).answer(asked(), NAME)) == CONTENT


# --- whole and in part ----------------------------------------------------------------------------------------------


async def test_an_image_is_sent_whole_in_pieces(images: Images) -> None:
    """Without conditions the answer is the whole file, its length known, a chunk at a time."""
    response = await images.answer(asked(), NAME)
    assert response.status == 200
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert isinstance(response.body, Stream)
    chunks = [chunk async for chunk in response.body.chunks()]
    assert b"".join(chunks) == CONTENT
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert len(chunks) > 1


SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("asked_for", "first", "last"),
    [
        ("bytes=0-", 0, SIZE - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=65535-65536", 65535, 65536),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        (f"bytes=-{SIZE}", 0, SIZE - 1),
        (f"bytes=-{SIZE + 1}", 0, SIZE - 1),
        (f"bytes=5-{10**17}", 5, SIZE - 1),
        ("BYTES=1-2", 1, 2),
    ],
)
async def test_a_range_is_sent(images: Images, asked_for: str, first: int, last: int) -> None:
    """One range, from the front or the end, is 206 with exactly those bytes."""
    response = await images.answer(asked(range=asked_for), NAME)
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert await content(response) == CONTENT[first : last + 1]


@pytest.mark.parametrize("asked_for", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
async def test_a_range_past_the_end_is_refused(images: Images, asked_for: str) -> None:
    """416 tells how long the file is."""
    with pytest.raises(RequestRefused) as caught:
        await images.answer(asked(range=asked_for), NAME)
    assert caught.value.status == 416
    assert caught.value.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked_for",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=2-1",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=１-2",
        "bytes=" + "9" * 19 + "-",
        "bytes=" + "9" * 10_000 + "-",
    ],
)
async def test_any_other_range_is_ignored(images: Images, asked_for: str) -> None:
    """Several ranges, broken ones and other units are answered with the whole file."""
    response = await images.answer(asked(range=asked_for), NAME)
    assert response.status == 200
    assert await content(response) == CONTENT


async def test_a_head_ignores_ranges(images: Images) -> None:
    """Ranges are defined for GET only."""
    response = await images.answer(asked("HEAD", range="bytes=0-1"), NAME)
    assert response.status == 200
    assert isinstance(response.body, Stream)
    assert response.body.length == SIZE


@settings(deadline=None)
@given(header=st.text() | st.from_regex(r"\A *bytes=[0-9]{0,20}-[0-9]{0,20} *\Z"), size=st.integers(0, 2**40))
def test_a_range_is_never_outside_the_file(header: str, size: int) -> None:
    """Whatever is asked for, what is sent lies inside the file."""
    part = byte_range(header, size)
    if part is not None and part[0] <= part[1]:
        assert 0 <= part[0] <= part[1] < size


@settings(deadline=None)
@given(size=st.integers(1, 10**9), first=st.integers(0, 10**9), last=st.integers(0, 10**9))
def test_a_proper_range_is_what_the_standard_says(size: int, first: int, last: int) -> None:
    """Both ends count, the last is brought into the file, and an end before its beginning is no range."""
    part = byte_range(f"bytes={first}-{last}", size)
    if last < first:
        assert part is None
    elif first >= size:
        assert part is not None
        assert part[0] > part[1]
    else:
        assert part == (first, min(last, size - 1))


# --- validators -----------------------------------------------------------------------------------------------------


async def etag(images: Images) -> str:
    """Return the entity tag of the image."""
    return (await images.answer(asked("HEAD"), NAME)).headers["ETag"]


async def test_the_entity_tag_follows_the_content(directory: Path, images: Images) -> None:
    """The same file has the same strong tag, a new one another, be it only in its time."""
    before = await etag(images)
    assert before.startswith('"')
    assert await etag(images) == before
    (directory / "new").write_bytes(CONTENT)
    os.utime(directory / "new", ns=(1, 1))
    (directory / "new").rename(directory / NAME)
    after = await etag(images)
    assert after != before
    (directory / NAME).write_bytes(CONTENT + b"x")
    os.utime(directory / NAME, ns=(1, 1))
    assert await etag(images) not in {before, after}


async def test_a_copy_with_its_time_kept_has_the_same_tag(directory: Path, images: Images) -> None:
    """Two gateways that serve copies agree, so a download can go on at the other."""
    mirror = directory.parent / "mirror"
    mirror.mkdir()
    (mirror / NAME).write_bytes(CONTENT)
    stat = (directory / NAME).stat()
    os.utime(mirror / NAME, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert await etag(Images(mirror)) == await etag(images)


@pytest.mark.parametrize("form", ["{0}", "W/{0}", '"x", {0}', "*", '"a,b" ,W/{0} '])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_has_it_is_told_so(images: Images, form: str, method: str) -> None:
    """If-None-Match with the tag, among others or as a weak one, is 304, whatever range is asked for."""
    tag = await etag(images)
    response = await images.answer(asked(method, if_none_match=form.format(tag), range="bytes=0-1"), NAME)
    assert (response.status, response.headers["ETag"], response.body) == (304, tag, b"")


@pytest.mark.parametrize("header", ["", '"x"', "W/x", '"'])
async def test_who_has_another_gets_it(images: Images, header: str) -> None:
    """If-None-Match with other tags changes nothing."""
    assert (await images.answer(asked(if_none_match=header), NAME)).status == 200


async def test_if_range_decides_between_part_and_whole(images: Images) -> None:
    """The part is sent only for the present tag; for another, a weak one or a date the whole file."""
    tag = await etag(images)
    response = await images.answer(asked(range="bytes=0-1", if_range=tag), NAME)
    assert response.status == 206
    for other in ('"x"', f"W/{tag}", "Sun, 06 Nov 1994 08:49:37 GMT", ""):
        assert (await images.answer(asked(range="bytes=0-1", if_range=other), NAME)).status == 200


# --- files that change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["replace", "shorten", "overwrite", "delete"])
async def test_an_image_that_changes_is_never_mixed(directory: Path, images: Images, change: str) -> None:
    """When the file is not any more what its headers said, the body ends with an error, not with other bytes."""
    response = await images.answer(asked(), NAME)
    assert isinstance(response.body, Stream)
    chunks = response.body.chunks()
    assert await anext(chunks) == CONTENT[:CHUNK_BYTES]
    path = directory / NAME
    if change == "replace":
        (directory / "new").write_bytes(CONTENT)
        (directory / "new").rename(path)
    elif change == "shorten":
        os.truncate(path, CHUNK_BYTES)
    elif change == "overwrite":
        path.write_bytes(CONTENT[::-1])
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with pytest.raises(ImageChanged):
        await anext(chunks)
