import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.ops import DTYPE_BYTES, Matmul, VectorAdd, make_op, op_fields, show_op
from llmos.errors import ProfileError

sizes = st.integers(1, 10**6)
ops = st.one_of(
    st.builds(Matmul, sizes, sizes, sizes, st.sampled_from(sorted(DTYPE_BYTES))),
    st.builds(VectorAdd, sizes, st.sampled_from(sorted(DTYPE_BYTES))),
)


def test_a_small_product_counted_on_paper():
    # (2, 3) by (3, 4): 8 results of 3 products and 3 sums; 6 + 12 + 8 numbers move.
    assert Matmul(2, 3, 4, "fp32").flops == 48
    assert Matmul(2, 3, 4, "fp32").bytes == 26 * 4
    assert Matmul(2, 3, 4, "bf16").bytes == 26 * 2


def test_the_worked_example_of_1024x512_by_512x64():
    op = Matmul(1024, 512, 64, "fp16")
    assert op.flops == 67_108_864
    assert op.bytes == (524_288 + 32_768 + 65_536) * 2


def test_a_vector_add_reads_two_and_writes_one():
    assert VectorAdd(1000, "fp32").flops == 1000
    assert VectorAdd(1000, "fp32").bytes == 12_000


def test_equal_operations_are_one_key_and_different_ones_are_not():
    assert len({Matmul(1, 2, 3), Matmul(1, 2, 3, "fp32"), Matmul(1, 3, 2), Matmul(1, 2, 3, "bf16")}) == 3


@given(ops)
def test_an_operation_survives_being_written_as_fields(op):
    assert make_op(op.kind, op_fields(op)) == op


def test_people_read_the_sizes_in_the_order_m_k_n():
    assert show_op(Matmul(8, 1024, 4096, "bf16")) == "matmul 8x1024x4096 bf16"


@pytest.mark.parametrize("size", [0, -1, 1.0, True, "7", None, 2**41, float("nan")])
def test_a_size_is_a_whole_number_within_reason(size):
    with pytest.raises(ProfileError, match="k is a whole number"):
        Matmul(1, size, 1)
    with pytest.raises(ProfileError, match="n is a whole number"):
        VectorAdd(size)


@pytest.mark.parametrize("dtype", ["fp8", "", None, [], 4])
def test_an_unknown_dtype_is_told_with_those_there_are(dtype):
    with pytest.raises(ProfileError, match="fp32, bf16, fp16"):
        Matmul(1, 1, 1, dtype)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("matmull", {"m": 1, "k": 1, "n": 1, "dtype": "fp32"}, 'did you mean "matmul"'),
        ("matmul", {"m": 1, "k": 1, "dtype": "fp32"}, "look at n"),
        ("vector_add", {"n": 1, "dtype": "fp32", "m": 2}, "look at m"),
    ],
)
def test_fields_that_make_no_operation_are_named(kind, fields, message):
    with pytest.raises(ProfileError, match=message):
        make_op(kind, fields)
