import sys
from abc import ABC, abstractmethod
from textwrap import dedent

import pytest

from llmos.errors import PolicyError
from llmos.plugins import available, find, load_function


class ReadyQueue(ABC):
    """The contract of these tests."""

    @abstractmethod
    def pick(self): ...


HEADER = "from shelf.base import ReadyQueue\n"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A package `shelf` of policies: a function that puts a file on it."""
    package = tmp_path / "installed" / "shelf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setitem(sys.modules, "shelf.base", sys.modules[__name__])

    def put(name, text):
        (package / name).write_text(HEADER + dedent(text))
        return package / name

    yield put
    for name in [name for name in sys.modules if name == "shelf" or name.startswith("shelf.")]:
        del sys.modules[name]


@pytest.fixture
def mine(tmp_path, shelf):
    """A function that writes the student's file `mine.py` and returns its folder."""

    def write(text):
        (tmp_path / "mine.py").write_text(HEADER + dedent(text))
        return tmp_path

    return write


def look(spec, relative_to="."):
    return find(spec, package="shelf", base=ReadyQueue, relative_to=relative_to)


def test_a_new_file_is_found_by_its_name(shelf):
    shelf("round_robin.py", "class RoundRobin(ReadyQueue):\n    def pick(self): return 1")
    assert look("round_robin")().pick() == 1


def test_a_class_may_name_itself_but_does_not_inherit_a_name(shelf):
    shelf("sjf.py", "class Sjf(ReadyQueue):\n    name = 'shortest'\n    def pick(self): return 1")
    shelf("srtf.py", "from shelf.sjf import Sjf\nclass Srtf(Sjf):\n    pass")
    assert {name: cls.__name__ for name, cls in available("shelf", ReadyQueue).items()} == {
        "shortest": "Sjf",
        "srtf": "Srtf",
    }


def test_names_come_in_alphabetical_order(shelf):
    for name in ("b", "c", "a"):
        shelf(f"{name}.py", "class It(ReadyQueue):\n    def pick(self): return 1")
    assert list(available("shelf", ReadyQueue)) == ["a", "b", "c"]


def test_what_is_private_abstract_or_imported_is_no_policy(shelf):
    shelf("_tools.py", "class Tool(ReadyQueue):\n    def pick(self): return 1")
    shelf("half.py", "class Half(ReadyQueue):\n    pass")
    shelf("fifo.py", "class _Part(ReadyQueue):\n    def pick(self): return 1\nclass Fifo(_Part): pass")
    shelf("other.py", "from shelf.fifo import Fifo\nAlias = Fifo")
    assert list(available("shelf", ReadyQueue)) == ["fifo"]


def test_an_unknown_name_is_answered_with_the_near_one_and_the_list(shelf):
    shelf("mlfq.py", "class Mlfq(ReadyQueue):\n    def pick(self): return 1")
    shelf("sjf.py", "class Sjf(ReadyQueue):\n    def pick(self): return 1")
    with pytest.raises(PolicyError) as caught:
        look("mlqf")
    assert str(caught.value) == (
        'there is no ready queue "mlqf"; there are mlfq, sjf\n    did you mean "mlfq"?'
    )


def test_two_policies_in_one_shipped_file_or_under_one_name_are_refused(shelf):
    path = shelf(
        "two.py", "class A(ReadyQueue):\n def pick(self): 1\nclass B(ReadyQueue):\n def pick(self): 1"
    )
    with pytest.raises(PolicyError, match="several policies: A, B"):
        look("two")
    path.unlink()
    shelf("one.py", "class One(ReadyQueue):\n    name = 'x'\n    def pick(self): return 1")
    shelf("other.py", "class Other(ReadyQueue):\n    name = 'x'\n    def pick(self): return 1")
    with pytest.raises(PolicyError, match='"x" is taken by'):
        look("x")


def test_a_shipped_file_that_does_not_load_is_named_with_its_line(shelf):
    path = shelf("broken.py", "x = 1\ny = x / 0\n")
    with pytest.raises(PolicyError) as caught:
        look("anything")
    assert str(caught.value) == f"{path}:3: it does not load: ZeroDivisionError: division by zero"


def test_a_file_of_ones_own_needs_no_name_when_it_holds_one_policy(mine):
    folder = mine("class Mine(ReadyQueue):\n    def pick(self): return 7")
    assert look("mine.py", folder)().pick() == 7
    assert look("mine.py:Mine", folder)().pick() == 7
    assert look(str(folder / "mine.py"), "/elsewhere")().pick() == 7


def test_of_several_policies_one_must_be_named(mine):
    folder = mine("class A(ReadyQueue):\n def pick(self): return 1\nclass B(A):\n def pick(self): return 2")
    assert look("mine.py:B", folder)().pick() == 2
    with pytest.raises(PolicyError, match=r"it has several: A, B\n    say which: mine.py:A"):
        look("mine.py", folder)


def test_a_file_saved_twice_in_a_moment_is_read_twice(mine):
    folder = mine("class Mine(ReadyQueue):\n    def pick(self): return 1")
    assert look("mine.py", folder)().pick() == 1
    mine("class Mine(ReadyQueue):\n    def pick(self): return 2")
    assert look("mine.py", folder)().pick() == 2
    assert not (folder / "__pycache__").exists()


def test_dataclasses_with_late_annotations_load(mine):
    folder = mine(
        """
        from dataclasses import dataclass

        @dataclass
        class Mine(ReadyQueue):
            level: "int" = 3

            def pick(self):
                return self.level
        """
    )
    assert look("mine.py", folder)().pick() == 3


@pytest.mark.parametrize(
    ("text", "spec", "told"),
    [
        ("", "mine.py", "it has no ReadyQueue"),
        ("class Mine(ReadyQueue):\n    pass", "mine.py", "Mine leaves out pick"),
        ("class Mine(ReadyQueue):\n    pass", "mine.py:Mein", "it has no class"),
        ("class Mine(ReadyQueue):\n    pass", "mine.py:Mein", 'did you mean "Mine"'),
        ("class Mine:\n    pass", "mine.py:Mine", "Mine is no ReadyQueue"),
        ("Mine = 3", "mine.py:Mine", "it has no class"),
        ("class Mine(ReadyQueue)\n    pass", "mine.py", "mine.py:2: it does not load: SyntaxError: expected"),
        ("import nowhere", "mine.py", "mine.py:2: it does not load: ModuleNotFoundError: No module named"),
        ("def f(): return {}['k']\n\nf()", "mine.py", "mine.py:2: it does not load: KeyError: 'k'"),
        ("raise SystemExit(0)", "mine.py", "mine.py:2: it does not load: SystemExit: 0"),
        ("x = '\0'", "mine.py", "it does not load"),
        ("x = " + "(" * 5000, "mine.py", "it does not load"),
        ("", "yours.py", "yours.py: there is no such file"),
        ("", "yours.py:Mine", "yours.py: there is no such file"),
        ("", "no\0name.py", "it does not load"),
    ],
)
def test_a_bad_file_is_told_in_a_sentence(mine, text, spec, told):
    folder = mine(text)
    before = set(sys.modules)
    with pytest.raises(PolicyError) as caught:
        look(spec, folder)
    assert told in str(caught.value)
    if "does not load" in told or "no such file" in told:
        assert set(sys.modules) == before


def test_a_function_is_found_in_a_file(mine):
    folder = mine("def work(): return 5\nclass Work: pass\nlevel = 3")
    assert load_function("mine.py:work", relative_to=folder)() == 5


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("mine.py", "write path.py:function"),
        ("work", "write path.py:function"),
        ("mine.py:play", 'it has no function "play"'),
        ("mine.py:level", 'it has no function "level"'),
        ("yours.py:work", "there is no such file"),
    ],
)
def test_a_function_that_is_not_there_is_told(mine, spec, told):
    folder = mine("def work(): return 5\nlevel = 3")
    with pytest.raises(PolicyError) as caught:
        load_function(spec, relative_to=folder)
    assert told in str(caught.value)
