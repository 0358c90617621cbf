"""The dtypes in torch; see `llmos.kernels.ops` for the operations."""

from llmos.kernels.ops.base import TORCH_DTYPES

__all__ = ["TORCH_DTYPES"]
