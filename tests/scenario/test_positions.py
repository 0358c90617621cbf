"""Lines of keys: the scanner sees the same tree as tomllib, and each key where it stands."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.scenario.positions import DEEPEST, TooDeepError, line_of, locate

DOCUMENT = '''\
# a comment with = and [brackets]
title = "text with # and ] and \\" inside"   # comment
date = 1979-05-27 07:32:00

[cpu]
scheduler = { policy = "rr", "quantum x" = [
  "1 ms",  # first
  "2 ms",
] }
costs.context_switch = "5 us"

[[task]]
name = """several
lines ""with"" quotes""""
literal = \'\'\'it's
here\'\'\'
[[task]]
program = [
  { compute = "1 ms" },
  { repeat = 2, do = [
      { io = "disk" },
  ] },
]
[task.io]
every = 3
[a."b.c".'d']
e = 1
'''


def test_each_key_is_found_at_its_line():
    lines = locate(DOCUMENT)

    def line(*path):
        return lines[path]

    assert line("title") == 2
    assert line("date") == 3
    assert line("cpu") == 5
    assert line("cpu", "scheduler", "quantum x", 0) == 7
    assert line("cpu", "scheduler", "quantum x", 1) == 8
    assert line("cpu", "costs", "context_switch") == 10
    assert line("task", 0, "name") == 13
    assert line("task", 0, "literal") == 15
    assert line("task", 1) == 17
    assert line("task", 1, "program", 0, "compute") == 19
    assert line("task", 1, "program", 1, "do", 0, "io") == 21
    assert line("task", 1, "io", "every") == 25
    assert line("a", "b.c", "d", "e") == 27


def test_what_is_not_there_has_the_line_of_the_table_around_it():
    assert line_of(locate(DOCUMENT), ("task", 1, "io", "missing", 3)) == 24
    assert line_of({}, ("task", 1)) is None


def paths(value, path=()):
    """Every key path of what tomllib read."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def test_the_scanner_sees_the_tree_that_tomllib_sees():
    assert set(locate(DOCUMENT)) == set(paths(tomllib.loads(DOCUMENT)))


# Documents written in many styles. Every scalar is a marker, so that its line can be found in the text.

keys = st.text("ab-_0", min_size=1, max_size=3) | st.text(' .#=["é', min_size=1, max_size=3)
gaps = st.sampled_from(["", " ", "  "])
breaks = st.sampled_from(["", " ", "\n", "  # ] comment\n", "\n\n  "])


@st.composite
def written_key(draw, key):
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    if bare and draw(st.booleans()):
        return key
    if "'" not in key and draw(st.booleans()):
        return f"'{key}'"
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def written(draw, depth=0):
    """The text of a value; {} stands where each scalar's marker goes."""
    kind = draw(st.sampled_from(["scalar", "array", "inline"] if depth < 3 else ["scalar"]))
    if kind == "scalar":
        return draw(
            st.sampled_from(
                ["{}", '"m{}"', "'m{}'", '"""m{}\n x"y ] """', "'''m{} ' # '''", '"m{} \\" # }}"']
            )
        )
    if kind == "array":
        items = draw(st.lists(written(depth + 1), max_size=3))
        text = "["
        for item in items:
            text += draw(breaks) + item + draw(breaks) + ","
        if items and draw(st.booleans()):
            text = text[:-1]
        return text + draw(breaks) + "]"
    names = draw(st.lists(keys, max_size=3, unique=True))
    pairs = [f"{draw(written_key(n))}{draw(gaps)}={draw(gaps)}{draw(written(depth + 1))}" for n in names]
    return "{{" + ",".join(draw(gaps) + pair + draw(gaps) for pair in pairs) + "}}"


@st.composite
def documents(draw):
    text = draw(st.sampled_from(["", "# head\n", "\n\n"]))
    tables = draw(st.lists(st.tuples(st.booleans(), st.lists(keys, min_size=1, max_size=3)), max_size=5))
    for i, (array, header) in enumerate([(None, []), *tables]):
        if header:
            inner = draw(gaps) + ".".join([draw(written_key(k)) for k in header]) + draw(gaps)
            text += f"[[{inner}]]\n" if array else f"[{inner}]\n"
        for key in draw(st.lists(keys, max_size=3, unique=True)):
            dotted = [draw(written_key(k)) for k in [key, *draw(st.lists(keys, max_size=1))]]
            text += f"{'.'.join(dotted)} = {draw(written())}{draw(st.sampled_from(['', '  # c']))}\n"
        text += "\n" * (i % 2)
    # Escaped braces of inline tables become braces; each marker gets a number of its own.
    count = text.replace("{{", "").replace("}}", "").count("{}")
    return text.format(*range(1000, 1000 + count))


@given(documents())
def test_on_any_document_the_scanner_agrees_with_tomllib(text):
    lines = locate(text)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines) == set(paths(tree))
    for path in paths(tree):
        value = tree
        for part in path:
            value = value[part]
        if not isinstance(value, dict | list):
            marker = str(value).strip("m")[:4]
            assert marker in text.splitlines()[lines[path] - 1]


@pytest.mark.parametrize(
    "deep", ["x = " + "[" * 5000, "x = " + "{a=" * 5000, "[" + ".".join("a" * 5000) + "]"]
)
def test_what_is_nested_too_deep_is_refused_with_its_line(deep):
    with pytest.raises(TooDeepError) as caught:
        locate("y = 1\n" + deep)
    assert caught.value.line == 2


def test_brackets_in_strings_are_not_nesting():
    assert locate(f'x = "{"[" * 5000}"') == {("x",): 1}
    assert ("x",) in locate("x = " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1))


@given(st.text("[]{}=.\"'#\\\n ab1,", max_size=40))
def test_any_text_is_scanned_to_an_end(text):
    locate(text)
