"""Real operations in torch: every one of `llmos.costs.ops` that a single device can run.

- `KERNELS` says which kernels there are for an operation, the best first; the first that the device
  does not lack anything for is taken. A new operation is one entry there.
- `NOT_HERE` says of the others where their cost comes from.
"""

from llmos.costs.ops import Op
from llmos.kernels.ops.attention import CONTIGUOUS_DECODE, KV_WRITE, PAGED_DECODE, PREFILL
from llmos.kernels.ops.base import TORCH_DTYPES, Kernel, Source
from llmos.kernels.ops.copies import COPY
from llmos.kernels.ops.dense import BATCHED_MATMUL, MATMUL, VECTOR_ADD
from llmos.kernels.ops.layers import EMBEDDING, RMS_NORM, ROTARY, SAMPLING, SOFTMAX, SWIGLU
from llmos.kernels.ops.quantised import DYNAMIC, INT4, INT8
from llmos.kernels.ops.sparse import SPARSE

KERNELS: dict[str, tuple[Kernel, ...]] = {
    "matmul dense": (MATMUL,),
    "matmul int8": INT8,
    "matmul int4": INT4,
    "matmul int8-dynamic": DYNAMIC,
    "matmul 2:4": (SPARSE,),
    "batched_matmul": (BATCHED_MATMUL,),
    "vector_add": (VECTOR_ADD,),
    "prefill_attention": (PREFILL,),
    "decode_attention paged": (PAGED_DECODE,),
    "decode_attention contiguous": (CONTIGUOUS_DECODE,),
    "kv_write": (KV_WRITE,),
    "rms_norm": (RMS_NORM,),
    "rotary": (ROTARY,),
    "swiglu": (SWIGLU,),
    "embedding": (EMBEDDING,),
    "softmax": (SOFTMAX,),
    "sampling": (SAMPLING,),
    "copy": (COPY,),
}
CHOOSING = ("weights", "layout")
"""The words of an operation that choose its kernel; of the others a kernel knows what to do."""
NOT_HERE = {
    "all_reduce": "it takes several devices: predicted from a link, not timed",
    "all_gather": "it takes several devices: predicted from a link, not timed",
    "send": "it takes several devices: predicted from a link, not timed",
    "file_read": "files are measured with the operating system's own costs",
}


def kernel_of(op: Op, device: str) -> Kernel | str:
    """The kernel for that operation on a "cpu" or "cuda" device, or why there is none."""
    if op.kind in NOT_HERE:
        return NOT_HERE[op.kind]
    dtype = getattr(op, "dtype", "")
    if dtype and dtype not in TORCH_DTYPES:
        return f"no kernel here computes in {dtype}"
    lack = f"there is no kernel for {op.kind}"
    for kernel in KERNELS.get(kernel_name(op), ()):
        lack = kernel.lacks(op, device)
        if not lack:
            return kernel
    return lack


def kernel_name(op: Op) -> str:
    """The operation's key in `KERNELS`."""
    return " ".join([op.kind, *(getattr(op, word) for word in CHOOSING if word in op.words)])


__all__ = ["KERNELS", "NOT_HERE", "TORCH_DTYPES", "Kernel", "Source", "kernel_name", "kernel_of"]
