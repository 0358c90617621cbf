"""The steps that run an operation, as a scenario writes them: `op`, and the short forms of two kinds.

- There is a table for each kind of `llmos.costs.ops.OPS`, made from the fields of the operation: its
  sizes are whole numbers, or sizes in bytes where the operation counts bytes, and its words have a few
  values each. A new kind of operation needs nothing here but a line for a field of a new name.
- All of them have an `operation`, and are run the same way.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, create_model, model_validator

from llmos.costs.ops import DTYPE_BYTES, LARGEST, OPS, Matmul, Op, VectorAdd, make_op
from llmos.costs.ops.dense import WEIGHTS
from llmos.errors import ProfileError, did_you_mean
from llmos.scenario.fields import TAG, Model, Name, Size
from llmos.scenario.units import UnfitError, shown, size_bytes

Repeats = Annotated[int, Field(ge=1, le=10**9)]
Dimension = Annotated[int, Field(ge=1, le=LARGEST)]
Dtype = Literal[*DTYPE_BYTES]  # type: ignore[valid-type]  # mypy wants them spelled out
Weights = Literal[*WEIGHTS]  # type: ignore[valid-type]


def _some(size: int) -> int:
    if not 1 <= size <= LARGEST:
        raise UnfitError("it should be at least 1 B" if size < 1 else "it should be at most 1 TiB")
    return size


Bytes = Annotated[Size, AfterValidator(_some)]


def _length(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UnfitError(f'it should be a number of elements, or a size such as "64 MiB", not {shown(value)}')
    return value


ABOUT: Final = {
    "m": "Rows of the first matrix: tokens, in a layer.",
    "k": "Columns of the first matrix, rows of the second.",
    "n": "Columns of the second matrix; the elements of a vector.",
    "batch": "How many at once: products, or requests.",
    "tokens": "New tokens, of each request.",
    "context": "Tokens that each request has, the new ones included.",
    "heads": "Heads of the queries.",
    "kv_heads": "Heads of the keys and values.",
    "head_dim": "Numbers of a head.",
    "hidden": "Numbers of a token's row.",
    "ffn": "Numbers of a row inside the MLP.",
    "vocab": "Tokens that there are.",
    "rows": "Rows.",
    "width": "Numbers of a row.",
    "size": "How many bytes.",
    "devices": "How many devices take part.",
    "dtype": "The type of the numbers.",
    "weights": "How the second matrix is stored.",
    "layout": "How the keys and values of a request lie.",
    "route": "From where to where: within the device, to it, from it.",
    "host": "What memory of the host is copied.",
    "source": "Where the bytes of the file are.",
    "algorithm": "Round a ring, or up and down a tree.",
}
"""What a field of an operation is, wherever it occurs."""


class OperationStep(Model):
    """What all steps that run an operation have in common."""

    count: Repeats = Field(default=1, description="How many times in a row.")
    on: Name | None = Field(
        default=None, description="The device that runs it while the task waits; left out: the task's core."
    )

    @property
    def operation(self) -> Op:
        """The operation."""
        raise NotImplementedError


class MatmulStep(OperationStep):
    """Multiply matrices, for as long as the cost profile says."""

    matmul: Annotated[list[Dimension], Field(min_length=3, max_length=3)] = Field(
        description="Sizes [m, k, n] of an (m, k) by (k, n) product."
    )
    dtype: Dtype = Field(default="fp32", description=ABOUT["dtype"])
    weights: Weights = Field(default="dense", description=ABOUT["weights"])

    @property
    def operation(self) -> Matmul:
        m, k, n = self.matmul
        return Matmul(m, k, n, self.dtype, self.weights)


class VectorAddStep(OperationStep):
    """Add two vectors, for as long as the cost profile says."""

    vector_add: Annotated[int | str, BeforeValidator(_length)] = Field(
        description='Length of a vector: its elements, or its size as in "64 MiB".'
    )
    dtype: Dtype = Field(default="fp32", description=ABOUT["dtype"])

    @property
    def operation(self) -> VectorAdd:
        return VectorAdd(self.elements, self.dtype)

    @property
    def elements(self) -> int:
        """The length of one vector."""
        if isinstance(self.vector_add, int):
            return self.vector_add
        return size_bytes(self.vector_add) // DTYPE_BYTES[self.dtype]

    @model_validator(mode="after")
    def _has_elements(self) -> VectorAddStep:
        if not 1 <= self.elements <= LARGEST:
            raise UnfitError(f"a vector has 1 to 2**40 elements, not {shown(self.elements)}")
        return self


class OpTable(OperationStep):
    """A step `{ op = "all_reduce", ... }`; each kind of operation has a table of its own below this one."""

    op: str = Field(description="The kind of operation.")

    @property
    def operation(self) -> Op:
        step = OperationStep.model_fields
        return make_op(self.op, {name: value for name, value in self if name not in step and name != "op"})

    @model_validator(mode="after")
    def _possible(self) -> OpTable:
        try:
            _ = self.operation
        except ProfileError as error:
            raise UnfitError(error.message, hint=error.hint) from error
        return self


def _table(kind: str) -> type[OpTable]:
    """The table of one kind of operation: a key for each of its fields."""
    every: Any = OPS[kind]
    keys: dict[str, Any] = {"op": (Literal[kind], Field(description=OpTable.model_fields["op"].description))}
    for field in fields(every):
        words = every.words.get(field.name)
        value: Any = Literal[words] if words else Bytes if field.name == "size" else Dimension
        default = ... if field.default is MISSING else field.default
        keys[field.name] = (value, Field(default=default, description=ABOUT[field.name]))
    return create_model(f"Op{every.__name__}", __base__=OpTable, __doc__=every.__doc__, **keys)


OPERATIONS: Final[dict[str, type[Model]]] = {f"{TAG}op {kind}": _table(kind) for kind in OPS}
"""The model behind each tag of the union below."""


def _known(value: Any) -> Any:
    kind = value.get("op") if isinstance(value, dict) else value.op
    if not isinstance(kind, str) or kind not in OPS:
        hint = did_you_mean(kind, OPS) if isinstance(kind, str) else ""
        raise UnfitError(f"there is no operation {shown(kind)}", allowed=tuple(OPS), hint=hint)
    return value


if TYPE_CHECKING:
    OpStep = OpTable
else:
    OpStep = Annotated[
        Union[tuple(Annotated[model, Tag(tag)] for tag, model in OPERATIONS.items())],  # noqa: UP007
        Discriminator(lambda value: f"{TAG}op {value['op'] if isinstance(value, dict) else value.op}"),
        BeforeValidator(_known),
    ]
