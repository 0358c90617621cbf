"""The real engine writes the same words whatever the engine does with its memory and its batches."""

from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402
from machines import engine, execute  # noqa: E402

from llmos.costs.decoder import ModelShape  # noqa: E402
from llmos.kernels.executor import Executor  # noqa: E402
from llmos.kernels.llama import Model, greedy  # noqa: E402
from llmos.kernels.watch import CpuWatch  # noqa: E402
from llmos.replacement.lru import Lru  # noqa: E402
from llmos.scenario.machine import RequestSpec  # noqa: E402
from llmos.sched.fcfs import FCFS  # noqa: E402
from llmos.sched.mlfq import MLFQ  # noqa: E402
from llmos.sched.rr import RoundRobin  # noqa: E402
from llmos.serving.kv import KvMemory  # noqa: E402
from llmos.trace import events as ev  # noqa: E402

SHAPE = ModelShape(2, 32, 4, 2, 8, 48, 64, tied=True)
BLOCK = 4
ALONE = Model(SHAPE, 1, dtype=torch.float64)


@cache
def words(prompt, count):
    """What the model says after that prompt, one plain pass for each token: no cache, no batch."""
    ids = list(prompt)
    for _ in range(count):
        ids += greedy(ALONE.plain(ids)[-1:])
    return ids[len(prompt) :]


def spoken(policy, work, *, blocks, slots, budget, shares=True):
    """What each request wrote in a real engine, by pid, and the run."""
    model = Model(SHAPE, blocks, dtype=torch.float64, block_tokens=BLOCK)
    executor = Executor(model, CpuWatch())
    kept = {}

    class Listening(Executor):
        def pace(self, batch):
            kept.update({share.request.pid: share.request for share in batch.shares})
            return executor.pace(batch)

    specs = [
        RequestSpec(name=f"r{i}", prompt=len(ids), ids=ids, output=output, arrival_ns=at)
        for i, (ids, output, at) in enumerate(work)
    ]
    ran = execute(
        engine(
            policy, *specs, slots=slots, token_budget=budget, skip=False,
            pacing=Listening(model, CpuWatch()),
            memory=lambda: KvMemory(blocks, BLOCK, Lru(), shares=shares),
        )
    )  # fmt: skip
    return {pid: request.ids[request.prompt :] for pid, request in kept.items()}, ran


POLICIES = {"fcfs": FCFS, "rr": lambda: RoundRobin(3), "mlfq": lambda: MLFQ(quantum=2)}
prompts = st.lists(st.integers(0, 3), min_size=1, max_size=14)
works = st.lists(st.tuples(prompts, st.integers(1, 8), st.integers(0, 3_000_000)), min_size=1, max_size=6)


@settings(max_examples=10)
@given(st.sampled_from(sorted(POLICIES)), works, st.integers(6, 12), st.integers(1, 4), st.integers(0, 9))
def test_words_do_not_depend_on_batches_chunks_losses_or_sharing(policy, work, blocks, slots, more):
    said, _ = spoken(POLICIES[policy], work, blocks=blocks, slots=slots, budget=slots + more)
    assert said == {i + 1: words(tuple(ids), output) for i, (ids, output, _) in enumerate(work)}


def test_all_of_it_happens():
    """One workload in which prompts are chunked, blocks are lost and beginnings are found."""
    common = [1, 2, 3, 1, 2, 3, 1, 2]
    work = [([*common, i], 12, 0) for i in range(4)]
    said, ran = spoken(FCFS, work, blocks=9, slots=4, budget=6)
    assert ran.of(ev.Found)
    assert ran.of(ev.Lost)
    assert any(len(e.prefill) > 1 and e.decode for e in ran.of(ev.Iterate))
    assert said == {i + 1: words(tuple(ids), output) for i, (ids, output, _) in enumerate(work)}


def test_a_block_in_the_wrong_place_is_heard(monkeypatch):
    """The mutation: who reads the first block for the last one says something else."""
    from llmos.kernels import executor

    right = executor._chunk

    def wrong(share):
        """Forget the last block and look into the first one instead, once there are two."""
        chunk = right(share)
        return chunk._replace(blocks=[*chunk.blocks[:-1], chunk.blocks[0]])

    work = [([1, 2, 3, 3, 2, 1, 1, 3, 0], 8, 0)]
    assert spoken(FCFS, work, blocks=9, slots=1, budget=4)[0] == {1: words((1, 2, 3, 3, 2, 1, 1, 3, 0), 8)}
    monkeypatch.setattr(executor, "_chunk", wrong)
    assert spoken(FCFS, work, blocks=9, slots=1, budget=4)[0] != {1: words((1, 2, 3, 3, 2, 1, 1, 3, 0), 8)}
