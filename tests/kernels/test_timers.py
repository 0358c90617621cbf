import contextlib
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from llmos.costs.ops import Copy, Matmul, VectorAdd  # noqa: E402 — what follows needs torch
from llmos.errors import ProfileError  # noqa: E402
from llmos.kernels import timers  # noqa: E402
from llmos.kernels.calibrate import calibrate  # noqa: E402
from llmos.kernels.device import open_device  # noqa: E402
from llmos.kernels.pool import Fresh, Pool  # noqa: E402
from llmos.kernels.timers import last_cache_bytes, one_thread  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def address(tensor):
    return tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()


def test_a_pool_hands_out_all_of_its_bytes_before_it_repeats():
    pool = Pool(2**20, "cpu")
    starts = [address(pool.take(2**14, "fp32", "in"))[0] for _ in range(17)]
    assert len(set(starts[:16])) == 16, "16 stretches of 64 KiB fill a MiB"
    spans = sorted((start, start + 2**16) for start in starts[:16])
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_what_is_written_never_lies_where_something_is_read():
    pool = Pool(2**16, "cpu")
    reads = [address(pool.take(1000, "fp32", "in")) for _ in range(40)]
    writes = [address(pool.take(1000, "fp32", "out")) for _ in range(40)]
    assert all(end <= low or high <= start for start, end in reads for low, high in writes)


def test_a_pool_grows_to_the_largest_operand():
    pool = Pool(2**10, "cpu")
    assert pool.take(2**20, "bf16", "in").numel() == 2**20


def test_every_stretch_of_a_pool_begins_where_a_vector_can_be_loaded():
    # CUDA's kernels for int4 and int8 load 16 bytes at a time; an operand of odd size may come before.
    pool = Pool(2**16, "cpu")
    for dtype in (torch.uint8, torch.int8, "bf16", "fp32"):
        first = address(pool.take(3, dtype))[0]
        for count in (1001, 7, 2**13, 5):
            assert (address(pool.take(count, dtype))[0] - first) % 512 == 0
    assert pool.take(64, torch.uint8).view(torch.int32).numel() == 16


def test_inputs_are_random_numbers_in_every_dtype():
    pool = Pool(2**16, "cpu")
    for dtype in ("fp32", "bf16", "fp16"):
        values = pool.take(10_000, dtype, "in").float()
        assert torch.isfinite(values).all()
        assert values.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_whole_numbers_take_all_bit_patterns(dtype):
    assert len(Pool(2**16, "cpu").take(2**16, dtype).unique()) == 2**8
    assert len(Fresh("cpu").take(2**16, dtype).unique()) == 2**8
    assert Pool(2**16, "cpu").take(8, torch.int64, "out").numel() == 8


def test_one_thread_lasts_as_long_as_its_block():
    before = torch.get_num_threads()
    assert torch.backends.cuda.cudnn_sdp_enabled()
    with contextlib.suppress(KeyboardInterrupt), one_thread():
        assert torch.get_num_threads() == 1
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_the_cpu_is_timed():
    with open_device("cpu") as cpu:
        ops = [Matmul(1, 64, 64), Matmul(2, 64, 64, "bf16"), VectorAdd(4096)]
        samples = [cpu.sample(op) for op in ops for _ in range(3)]
        assert all(0 < sample < math.inf for sample in samples)
        assert 0 < cpu.launch() < 1
        assert cpu.copy_rate() > 0
        assert cpu.lacks(Matmul(1, 1, 1, "bf16")) == ""
        assert "fp8" in cpu.lacks(Matmul(1, 1, 1, "fp8"))
        assert cpu.facts["threads"] == "1"
        assert cpu.facts["device"]
    assert last_cache_bytes() > 0


def test_a_larger_product_takes_longer():
    # 4096 times the work: this can only fail when the wrong thing is timed.
    with open_device("cpu") as cpu:
        small, large = Matmul(8, 32, 32), Matmul(128, 512, 512)
        for op in (small, large):
            cpu.sample(op)
        assert min(cpu.sample(large) for _ in range(3)) > min(cpu.sample(small) for _ in range(3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so():
    with pytest.raises(ProfileError, match="no CUDA device"), open_device("cuda"):
        pass


def test_a_gpus_kernels_are_loaded_before_the_cache_is_flushed_and_that_before_the_clock(monkeypatch):
    """With a CUDA that only writes down what it is asked."""
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 3.0

    about = SimpleNamespace(name="a GPU", major=9, minor=0, total_memory=2**30, L2_cache_size=2**10)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: about)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda size, **_: SimpleNamespace(zero_=lambda: log.append(size)))
    monkeypatch.setattr(timers, "Pool", lambda size, device: Pool(2**12, "cpu"))
    monkeypatch.setattr(timers, "prepare", lambda run, way: lambda *operands: log.append("run"))
    cuda = timers.CudaDevice()
    assert [cuda.sample(VectorAdd(8)) for _ in range(2)] == [3e-3] * 2
    timed = [2 * 2**10, "event", "run", "event", "wait"]
    assert log == ["run", *timed, *timed]


@needs_cuda
def test_cuda_is_timed():
    with open_device("cuda") as cuda:
        small, large = Matmul(16, 256, 256, "bf16"), Matmul(4096, 4096, 4096, "bf16")
        for op in (small, large):
            cuda.sample(op)
        assert 0 < cuda.sample(small) < cuda.sample(large)
        assert 0 < cuda.launch() < 1e-3
        assert cuda.copy_rate() > 1e9


@needs_cuda
@pytest.mark.parametrize("route", ["device", "to-device", "from-device"])
@pytest.mark.parametrize("host", ["pinned", "pageable"])
def test_a_copy_is_timed_and_examined(route, host):
    with open_device("cuda") as cuda:
        op = Copy(2**24, route, host)
        cuda.sample(op)
        assert 2**24 / 8e12 < cuda.sample(op) < 1
        assert cuda.examine(op).error == 0


@needs_cuda
def test_a_quick_calibration_of_a_gpu_makes_a_profile(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path))
    profile = calibrate("cuda", quick=True)
    assert profile.name == "this-machine-cuda"
    assert profile.noise is not None
    assert {"fp32", "fp16"} <= set(profile.peak_flops)
