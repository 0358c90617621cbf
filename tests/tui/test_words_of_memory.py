"""What the terminal UI says of events about memory, by the numbers of a textbook's example."""

from memories import machine, memory, play, touch

from llmos.trace import events as ev
from llmos.tui.words import details


def test_faults_evictions_and_references_are_told_in_words():
    def program():
        yield touch(7, 0, 1, 2)

    _, events, _ = play(machine(memory(3), program, shows_references=True))
    told = [(type(event), details(event, str)) for event in events]
    assert [text for kind, text in told if kind is ev.Fault] == [
        f"minor, heap[{page}]; demand zero" for page in (7, 0, 1, 2)
    ]
    assert [text for kind, text in told if kind is ev.Evict] == [
        "a heap[7] loses frame 2, dirty; least recently used"
    ]
    assert next(text for kind, text in told if kind is ev.Reference) == "read heap[7], miss"
    assert [text for kind, text in told if kind is ev.Touched] == [
        "3 references, 3 TLB misses",
        "1 reference, 1 TLB misses",
    ]
    assert [text for kind, text in told if kind is ev.Region] == ["exit, 0 pages resident"]


def test_the_oom_killers_scores_are_told():
    event = ev.OomKill(0, task=1, reason="no frame", scores=[(1, 1200), (2, 6)])
    assert details(event, lambda pid: "ab"[pid - 1]) == "a scores 1,200, b scores 6; no frame"
