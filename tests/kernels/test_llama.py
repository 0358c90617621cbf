from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from llmos.costs.decoder import SHAPES, Composition, ModelShape, operations  # noqa: E402 — needs torch
from llmos.errors import LlmosError, ProfileError  # noqa: E402
from llmos.kernels import llama  # noqa: E402
from llmos.kernels.linears import Dense  # noqa: E402
from llmos.kernels.llama import Chunk, Model, greedy  # noqa: E402
from llmos.kernels.paged import ContiguousKv  # noqa: E402
from llmos.kernels.timers import one_thread  # noqa: E402

SHAPE = ModelShape(2, 16, 4, 2, 4, 24, 64, dtype="fp32")
BLOCKS, BLOCK_TOKENS = 24, 4
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    ),
]
# Largest difference of logits, which are about 1 in size: what the order of summing changes.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 0.25}


def made(shape=SHAPE, dtype=torch.float64, **changes):
    return Model(shape, BLOCKS, dtype=dtype, block_tokens=BLOCK_TOKENS, positions=96, **changes)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with one_thread():  # Tensors are tiny: several threads would mostly wait for one another.
        yield


@pytest.fixture(scope="module")
def double():
    return made()


def prompt(seed, count):
    return np.random.default_rng(seed).integers(0, SHAPE.vocab, count).tolist()


def largest(difference):
    return difference.abs().max().item()


# --- one layer, by the book ---


def rows_by_hand(model, ids):
    """Logits in numpy, one token at a time, written from the papers' formulas."""
    shape, n = model.shape, len(ids)
    heads, kv_heads, d = shape.heads, shape.kv_heads, shape.head_dim

    def norm(x, weight):
        return x / np.sqrt((x**2).mean() + 1e-5) * weight.numpy()

    def turned(vector, position):
        out = np.empty(d)
        for i in range(d // 2):
            angle = position / 10_000 ** (2 * i / d)
            a, b = vector[i], vector[i + d // 2]
            out[i] = a * np.cos(angle) - b * np.sin(angle)
            out[i + d // 2] = b * np.cos(angle) + a * np.sin(angle)
        return out

    xs = [model.embedding[token].numpy() for token in ids]
    for layer in model.layers:
        qkv = [layer.qkv.weight.numpy() @ norm(x, layer.attention_norm) for x in xs]
        vectors = [row.reshape(heads + 2 * kv_heads, d) for row in qkv]
        after = []
        for i in range(n):
            joined = []
            for head in range(heads):
                query = turned(vectors[i][head], i)
                own = head * kv_heads // heads
                scores = [query @ turned(vectors[j][heads + own], j) / np.sqrt(d) for j in range(i + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                joined.append(sum(w * vectors[j][heads + kv_heads + own] for j, w in enumerate(weights)))
            x = xs[i] + layer.o.weight.numpy() @ np.concatenate(joined)
            gate, up = np.split(layer.gate_up.weight.numpy() @ norm(x, layer.mlp_norm), 2)
            after.append(x + layer.down.weight.numpy() @ (gate / (1 + np.exp(-gate)) * up))
        xs = after
    return np.array([model.head.weight.numpy() @ norm(x, model.last_norm) for x in xs])


@pytest.mark.parametrize("shape", [ModelShape(1, 12, 6, 2, 4, 20, 30, tied=True), SHAPE])
def test_the_model_computes_what_the_papers_say(shape):
    model, ids = made(shape), prompt(3, 9)
    ids = [token % shape.vocab for token in ids]
    np.testing.assert_allclose(model.plain(ids).numpy(), rows_by_hand(model, ids), rtol=1e-9, atol=1e-12)


# --- paged against plain ---


@st.composite
def schedules(draw):
    """Up to three requests: how long, in which blocks, and in which chunks, mixed into iterations."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    free = draw(st.permutations(range(BLOCKS)))
    tables, left = [], list(lengths)
    for length in lengths:
        count = -(-length // BLOCK_TOKENS)
        tables.append(free[:count])
        free = free[count:]
    iterations = []
    while any(left):
        news = [draw(st.integers(0, rest)) if rest else 0 for rest in left]
        if not any(news):
            news = [min(rest, 1) for rest in left]
        iterations.append([(r, lengths[r] - left[r], new) for r, new in enumerate(news) if new])
        left = [rest - new for rest, new in zip(left, news, strict=True)]
    return lengths, tables, iterations


def served(model, prompts, tables, iterations):
    """For each request, the logits after the last token of each of its chunks, by position."""
    found = [{} for _ in prompts]
    for parts in iterations:
        chunks = [Chunk(prompts[r][start : start + new], start, tables[r]) for r, start, new in parts]
        for (r, start, new), row in zip(parts, model.step(chunks), strict=True):
            found[r][start + new - 1] = row
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_logits_from_blocks_are_those_of_a_plain_pass(dtype, device):
    model = made(dtype=dtype, device=device)

    @given(schedules(), st.integers(0, 9))
    def check(schedule, seed):
        lengths, tables, iterations = schedule
        prompts = [prompt(seed + 100 * r, length) for r, length in enumerate(lengths)]
        for ids, rows in zip(prompts, served(model, prompts, tables, iterations), strict=True):
            expected = model.plain(ids)
            for position, row in rows.items():
                assert largest(row - expected[position]) <= TOLERANCE[dtype]

    check()


def test_logits_from_a_contiguous_cache_are_those_of_a_plain_pass():
    model = made(kv=ContiguousKv)
    prompts = [prompt(1, 21), prompt(2, 9), prompt(3, 13)]
    tables = [list(range(8 * r, 8 * r + 6)) for r in range(3)]
    iterations = [
        [(0, 0, 9), (1, 0, 8)], [(1, 8, 1), (0, 9, 11), (2, 0, 12)], [(2, 12, 1), (0, 20, 1)],
    ]  # fmt: skip
    for ids, rows in zip(prompts, served(model, prompts, tables, iterations), strict=True):
        assert rows
        for position, row in rows.items():
            assert largest(row - model.plain(ids)[position]) <= TOLERANCE[torch.float64]


# --- the same text in all ways ---


def written(model, prompts, tables, count, *, chunk=99, together=True):
    """`count` greedy tokens for each prompt: all in one batch or one after another, prompts in chunks."""
    texts = [list(ids) for ids in prompts]
    done = [0] * len(prompts)
    groups = [list(range(len(prompts)))] if together else [[r] for r in range(len(prompts))]
    for group in groups:
        while waiting := [r for r in group if len(texts[r]) < len(prompts[r]) + count]:
            chunks = []
            for r in waiting:
                new = texts[r][done[r] : done[r] + chunk]
                chunks.append(Chunk(new, done[r], tables[r], done[r] + len(new) == len(texts[r])))
                done[r] += len(new)
            tokens = iter(model.iterate(chunks))
            for r, sent in zip(waiting, chunks, strict=True):
                if sent.wants_logits:
                    texts[r].append(next(tokens))
    return [text[len(ids) :] for text, ids in zip(texts, prompts, strict=True)]


PROMPTS = [prompt(11, 17), prompt(12, 3), prompt(13, 9)]
TABLES = [list(range(8 * r, 8 * r + 8)) for r in range(3)]


@pytest.fixture(scope="module")
def text(double):
    """What the plain pass writes after each prompt: no cache, no batch, everything anew each time."""
    texts = [list(ids) for ids in PROMPTS]
    for ids in texts:
        for _ in range(14):
            ids.extend(greedy(double.plain(ids)[-1:]))
    return [ids[-14:] for ids in texts]


def test_the_text_is_worth_comparing(text):
    assert all(len(set(tokens)) > 5 for tokens in text)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 5, 99])
def test_greedy_text_is_the_same_in_batches_and_chunks(double, text, chunk, together):
    assert written(double, PROMPTS, TABLES, 14, chunk=chunk, together=together) == text


@given(st.permutations(range(BLOCKS)))
def test_greedy_text_is_the_same_wherever_blocks_lie(double, text, blocks):
    tables = [blocks[8 * r : 8 * r + 8] for r in range(3)]
    assert written(double, PROMPTS, tables, 14, chunk=7) == text


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_greedy_text_does_not_depend_on_who_is_first_in_the_batch(double, text, order):
    out = written(double, [PROMPTS[r] for r in order], [TABLES[r] for r in order], 14, chunk=6)
    assert out == [text[r] for r in order]


def test_greedy_text_is_the_same_when_blocks_of_a_prefix_are_shared(double):
    # Two requests begin with the same eight tokens; the second finds them in two blocks of the first.
    prefix = prompt(20, 8)
    first, second = prefix + prompt(21, 5), prefix + prompt(22, 3)
    alone = written(double, [first, second], [TABLES[0], TABLES[1]], 10, together=False)
    shared = [5, 17, 2, 3, 4, 6], [5, 17, 9, 10, 11, 12]
    texts = [list(first), list(second)]
    tokens = double.iterate([Chunk(first, 0, shared[0])])
    tokens += double.iterate([Chunk(second[8:], 8, shared[1])])
    for _ in range(9):
        for ids, token in zip(texts, tokens, strict=True):
            ids.append(token)
        tokens = double.iterate(
            [Chunk(ids[-1:], len(ids) - 1, table) for ids, table in zip(texts, shared, strict=True)]
        )
    for ids, token in zip(texts, tokens, strict=True):
        ids.append(token)
    assert [texts[0][len(first) :], texts[1][len(second) :]] == alone


def test_greedy_text_is_the_same_after_a_preemption_that_forgot_everything(double, text):
    # After six tokens the request loses its blocks, and reads prompt and text again into others.
    begun = written(double, PROMPTS[:1], TABLES[:1], 6)[0]
    double.step([Chunk(prompt(30, 32), 0, TABLES[0])])
    again = written(double, [PROMPTS[0] + begun], [TABLES[2]], 8, chunk=5)[0]
    assert begun + again == text[0]


# --- causality ---


def test_what_comes_later_changes_nothing_before(double):
    ids = prompt(5, 20)
    other = [*ids[:12], *prompt(6, 8)]
    assert other != ids
    before, after = double.plain(ids), double.plain(other)
    assert torch.equal(before[:12], after[:12])
    assert largest(before[12:] - after[12:]) > 1e-3


@pytest.mark.parametrize("broken", ["causal_mask", "padding_mask"])
def test_a_broken_mask_is_seen(double, text, monkeypatch, broken):
    whole = getattr(llama, broken)
    monkeypatch.setattr(llama, broken, lambda *sizes: whole(*sizes).zero_())
    assert written(double, PROMPTS, TABLES, 14, chunk=5) != text


# --- what is observed ---


def compositions():
    yield [Chunk(prompt(1, 6), 0, [0, 1])]
    yield [Chunk(prompt(1, 6), 0, [0, 1], wants_logits=False)]
    yield [Chunk(prompt(1, 1), 5, [0, 1]), Chunk(prompt(2, 1), 8, [2, 3, 4])]
    yield [
        Chunk(prompt(1, 1), 9, [0, 1, 2]), Chunk(prompt(2, 5), 3, [3, 4], wants_logits=False),
        Chunk(prompt(3, 4), 0, [5]), Chunk(prompt(4, 1), 0, [6]),
    ]  # fmt: skip


@pytest.mark.parametrize("kv", [llama.PagedKv, ContiguousKv])
@pytest.mark.parametrize("shape", [SHAPE, SHAPES["tiny-2m"]])
def test_exactly_the_operations_of_the_cost_model_are_run(shape, kv):
    model = made(shape, torch.float32, kv=kv)
    for chunks in compositions():
        seen = Counter()

        def observe(op, work, *operands, seen=seen):
            seen[op] += 1
            return work(*operands)

        watched = model.iterate(chunks, observe)
        expected = Counter()
        for times, op in operations(shape, model.compose(chunks)):
            expected[op] += times
        assert seen == expected
        assert watched == model.iterate(chunks), "who is watched writes the same"


def test_the_operands_are_as_large_as_the_operation_says():
    def observe(op, work, *operands):
        out = work(*operands)
        if op.kind == "matmul":
            assert (*operands[0].shape, out.shape[1]) == op.dims
            assert out.shape[0] == op.m
        elif op.kind in ("prefill_attention", "decode_attention"):
            assert out.shape[1] == op.heads * op.head_dim
        elif op.kind == "vector_add":
            assert out.numel() == op.n
        elif op.kind == "rotary":
            assert tuple(out.shape) == op.dims
        elif op.kind == "sampling":
            assert operands[0].shape == op.dims
        return out

    model = made(dtype=torch.float32)
    for chunks in compositions():
        model.iterate(chunks, observe)


def test_a_batch_is_told_to_the_cost_model_as_it_is(double):
    *_, mixed = compositions()
    expected = Composition(((5, 8), (4, 4)), (10, 1), 3, BLOCK_TOKENS)
    assert double.compose(mixed) == expected
    assert expected.tokens == sum(len(chunk.ids) for chunk in mixed)


# --- weights ---


def test_a_seed_fixes_the_weights():
    ids = prompt(1, 5)
    logits = [made(seed=seed).plain(ids) for seed in (1, 1, 2)]
    assert torch.equal(logits[0], logits[1])
    assert largest(logits[0] - logits[2]) > 0.1


@pytest.mark.parametrize("layers", [1, 4, 24])
def test_activations_neither_vanish_nor_explode_however_deep_the_model(layers):
    sizes = []

    def observe(op, work, *operands):
        if op.kind == "rms_norm":
            sizes.append(operands[0].square().mean().sqrt().item())
        return work(*operands)

    logits = made(replace(SHAPES["tiny-2m"], layers=layers), torch.float32).step(
        [Chunk(prompt(1, 32), 0, list(range(8)))], observe
    )
    assert max(sizes) < 2
    assert sizes[-1] > 1
    assert 0.5 < logits.std().item() < 2


def test_a_model_has_as_many_weights_as_its_shape_says():
    for shape in (SHAPE, SHAPES["tiny-2m"]):
        model = made(shape, torch.float32)
        weights = [model.embedding, model.last_norm]
        weights += [] if shape.tied else [model.head.weight]
        for layer in model.layers:
            weights += [layer.attention_norm, layer.mlp_norm]
            weights += [part.weight for part in (layer.qkv, layer.o, layer.gate_up, layer.down)]
        assert sum(weight.numel() for weight in weights) == shape.parameters


def test_products_can_be_of_another_kind():
    halved = made(linear=lambda weight: Dense(weight / 2))
    assert torch.equal(halved.layers[0].qkv.weight * 2, made().layers[0].qkv.weight)


def by_format(weights, dtype="fp32"):
    """A model of one layer whose products have sizes that every kernel takes, and its dense twin."""
    shape = ModelShape(1, 128, 4, 2, 32, 256, 64, dtype=dtype, weights=weights)
    return [Model(each, 8, block_tokens=8) for each in (shape, replace(shape, weights="dense"))]


# A normal weight of 128 is at most about 2.8 deviations: rounded to 127 steps of that it is off by 0.6 %
# of one deviation, to 15 steps from end to end by 10 %. That passes through five products and a gate.
@pytest.mark.parametrize(
    ("weights", "dtype", "most"),
    [("int8", "fp32", 0.05), ("int8-dynamic", "fp32", 0.1), ("int8", "bf16", 0.1), ("int4", "bf16", 0.5)],
)
def test_quantised_weights_say_nearly_what_dense_ones_do(weights, dtype, most):
    quantised, dense = by_format(weights, dtype)
    ids = prompt(1, 20)
    exact = dense.plain(ids).double()
    off = (quantised.plain(ids).double() - exact).square().mean().sqrt() / exact.std()
    assert 1e-4 < off < most
    steps = torch.cat([quantised.step([Chunk(ids[i : i + 5], i, [3, 1, 2])]) for i in range(0, 20, 5)])
    assert largest(steps - quantised.plain(ids)[4::5]) < (1e-4 if dtype == "fp32" else 0.25)


def test_what_is_run_says_how_its_weights_are_stored():
    model, _ = by_format("int8")
    seen = Counter()

    def observe(op, work, *operands):
        seen[op] += 1
        return work(*operands)

    chunks = [Chunk(prompt(1, 3), 0, [0]), Chunk([5], 4, [1])]
    model.iterate(chunks, observe)
    assert {op.weights for op in seen if op.kind == "matmul"} == {"int8", "dense"}
    assert seen == Counter({op: times for times, op in operations(model.shape, model.compose(chunks))})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_weights_that_no_kernel_here_can_store_are_refused():
    with pytest.raises(ProfileError, match=r"2:4 weights cannot run here: .*NVIDIA"):
        by_format("2:4")


# --- what does not fit ---


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (Chunk([], 0, [0]), "without tokens"),
        (Chunk([1, 2], 3, [0]), "cannot hold 5"),
        (Chunk([1], 96, [*range(24), 0]), "96 positions, not 97"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(double, chunk, words):
    with pytest.raises(LlmosError, match=words):
        double.step([chunk])
