"""Lines out of bytes: the same ones, in whatever pieces the bytes came, and always printable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.board.console_lines import CUT, LONGEST, LineSplitter, Said


def split(*pieces: bytes) -> list[Said]:
    """The lines of some pieces, each read a second after the last one."""
    splitter = LineSplitter()
    return [line for at, piece in enumerate(pieces) for line in splitter.feed(piece, float(at))]


def texts(*pieces: bytes) -> list[str]:
    """Their texts."""
    return [line.text for line in split(*pieces)]


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\x1b[0;31m", b"\xff", "ü".encode(), b"0", b"\x1b"])), st.data())
def test_pieces_do_not_matter(parts: list[bytes], data: st.DataObject):
    """Cut anywhere, inside of a character or a colour too, the lines are those of the whole."""
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert texts(*pieces) == texts(whole)


@given(st.binary(max_size=500))
def test_always_printable(data: bytes):
    """Whatever comes, each line can be printed, and nothing is lost of one that is ASCII."""
    for text in texts(data + b"\n"):
        assert text.isprintable()


def test_stamped_with_its_first_byte():
    """A line has the time at which its first byte was read, however long it took to end."""
    assert [(line.at, line.text) for line in split(b"I (1) be", b"gun", b" here\nnext", b"\n")] == [
        (0.0, "I (1) begun here"),
        (2.0, "next"),
    ]


def test_colours():
    """Colours are taken out and known; other escapes are taken out, too."""
    lines = split(b"\x1b[0;31mE (5) wifi: no\x1b[0m\r\n\x1b[0;33mW\x1b[0m\n\x1b[2J\x1b[1;32mI\x1b[0m\n\x1b[Kplain\n")

    assert [(line.colour, line.text) for line in lines] == [
        ("red", "E (5) wifi: no"),
        ("yellow", "W"),
        ("green", "I"),
        ("", "plain"),
    ]


def test_not_printable():
    """What is no UTF-8, or no character to print, is shown as escapes; line ends go, empty lines stay."""
    assert texts(b"\xff\xfe ok\x00\x07\x1b\r\r\n\r\n" + "½ 好\n".encode()) == [
        "\\xff\\xfe ok\\x00\\x07\\x1b",
        "",
        "½ 好",
    ]


def test_longest():
    """A line of the longest length is whole; a longer one is cut, once, and the rest of it is not another line."""
    whole = b"x" * LONGEST
    assert texts(whole + b"\n") == ["x" * LONGEST]
    (cut,) = split(whole + b"y")
    assert (cut.text, cut.cut) == ("x" * LONGEST + CUT, True)
    assert texts(whole, b"yy", b"zz" * LONGEST, b"rest\nnext\n") == ["x" * LONGEST + CUT, "next"]
    assert texts(whole + b"y\nnext\n") == ["x" * LONGEST + CUT, "next"]


def test_unfinished():
    """What has come of the last line can be seen, and taken as a line when no more will come."""
    splitter = LineSplitter()
    assert splitter.flush() is None
    splitter.feed(b"whole\npar", 1.0)
    splitter.feed(b"t", 2.0)

    assert splitter.unfinished == "part"
    assert splitter.flush() == Said(1.0, "part")
    assert (splitter.flush(), splitter.unfinished) == (None, "")
