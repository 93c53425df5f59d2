"""A vector of float32 lanes for numba: one value in the source, a few registers in the machine.

numba has no vector type, and leaving it to LLVM to find the vectors in scalar loops costs overlap
checks and spills in the innermost loop. Here the loops are written as if for one channel, on
values that hold `LANES` neighbouring channels; LLVM cuts them into registers of whatever width the
machine has. Memory is addressed by integers (`tensor.data_ptr()`), offsets are in floats.

| function | what |
| --- | --- |
| `load(a, i)`, `store(a, i, v)` | lanes at float `i` after address `a` |
| `read`, `write` (…, count) | only the first `count` lanes; the others read as 0 |
| `read_or_zero` | as `read`; zeros where the address is 0 |
| `put(a, i, x)` | store one float |
| `spread(a, i)` | one float, in every lane |
| `fetch_to_read`, `fetch_to_write` (a, i) | have those lanes in the cache soon |
| `full(c)` | a constant in every lane |
| `total(v)` | the sum of the lanes |
| `+ - * /`, `maximum`, `clamp`, `where_negative` | lane by lane; NaN passes |
| `exp2`, `exp`, `sigmoid`, `softplus` | polynomials, about 1e-7 relative |
| `alarm_of(v)` | 0 in every lane, or NaN where `v` is too large for them |
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 64  # channels in a block
FLOAT = 4  # bytes

# What the loops know of tensors: address, batch stride, step stride; strides in floats. Partial
# sums lie in several such tensors, a block stride apart.
Rows = tuple[int, int, int]
PartialRows = tuple[int, int, int, int]

_OWN_HASH = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """A loop, called from Python with integers and tuples of integers; it releases the GIL.

    numba compiles it at the first call and keeps the machine code in `NUMBA_CACHE_DIR`, in the
    `__pycache__` beside the loop's file or in the user's cache, whichever it can write first.
    """
    # numba compiles again when the file of the loop has changed, but not when this file has; the
    # name becomes part of the name of the file in the cache.
    function.__qualname__ = f"{function.__name__}_{_OWN_HASH}"
    loop = njit(function, nogil=True, boundscheck=False, error_model="numpy")
    with suppress(RuntimeError):  # no folder can be written: every process compiles for itself
        loop.enable_caching()
    return loop


def inlined(function: Callable) -> Callable:
    """For use in loops only: always part of its caller, never called from Python."""
    return njit(function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]


_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_CONTRACT = ("contract",)  # a * b + c may be fused; nothing else may be reordered


class Lanes(types.Type):
    """The numba type of `LANES` floats."""

    def __init__(self) -> None:
        super().__init__(f"f32x{LANES}")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _pointer(builder, address, offset, kind):
    start = builder.inttoptr(address, _FLOAT.as_pointer())
    place = builder.gep(start, [offset], source_etype=_FLOAT)
    return builder.bitcast(place, kind.as_pointer())


def _constant(value, kind=_VECTOR):
    return ir.Constant(kind, [value] * LANES)


def _splat(builder, value, kind):
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT(0))
    zeros = ir.Constant(_INTS, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def _first(builder, count):
    """A mask of the first `count` lanes."""
    ramp = ir.Constant(_INTS, list(range(LANES)))
    return builder.icmp_signed("<", ramp, _splat(builder, builder.trunc(count, _INT), _INTS))


@intrinsic
def load(typingctx, address, offset):
    """`LANES` floats."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(builder, *args, _VECTOR), align=4, typ=_VECTOR)

    return lanes(types.int64, types.int64), codegen


@intrinsic
def store(typingctx, address, offset, value):
    """`LANES` floats."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, *args[:2], _VECTOR), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes), codegen


@intrinsic
def load_part(typingctx, address, offset, count):
    """The first `count` lanes, zeros in the others."""

    def codegen(context, builder, signature, args):
        place = _pointer(builder, *args[:2], _VECTOR)
        name = f"llvm.masked.load.v{LANES}f32.p0"
        arguments = [place, _INT(4), _first(builder, args[2]), _constant(0.0)]
        return _call(builder, name, _VECTOR, arguments)

    return lanes(types.int64, types.int64, types.int64), codegen


@intrinsic
def store_part(typingctx, address, offset, value, count):
    """The first `count` lanes; memory after them is left alone."""

    def codegen(context, builder, signature, args):
        place = _pointer(builder, *args[:2], _VECTOR)
        name = f"llvm.masked.store.v{LANES}f32.p0"
        arguments = [args[2], place, _INT(4), _first(builder, args[3])]
        _call(builder, name, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes, types.int64), codegen


def _prefetcher(write):
    @intrinsic
    def prefetch(typingctx, address, offset):
        def codegen(context, builder, signature, args):
            place = _pointer(builder, *args, _FLOAT)
            for line in range(0, LANES, 16):  # 64 bytes each
                at = builder.gep(place, [_INT(line)], source_etype=_FLOAT)
                arguments = [at, _INT(int(write)), _INT(3), _INT(1)]
                _call(builder, "llvm.prefetch.p0", ir.VoidType(), arguments)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return prefetch


fetch_to_read, fetch_to_write = _prefetcher(False), _prefetcher(True)


@intrinsic
def spread(typingctx, address, offset):
    """One float from memory, in every lane."""

    def codegen(context, builder, signature, args):
        value = builder.load(_pointer(builder, *args, _FLOAT), align=4, typ=_FLOAT)
        return _splat(builder, value, _VECTOR)

    return lanes(types.int64, types.int64), codegen


@intrinsic
def full(typingctx, value):
    """A constant in every lane."""

    def codegen(context, builder, signature, args):
        return _splat(builder, builder.fptrunc(args[0], _FLOAT), _VECTOR)

    return lanes(types.float64), codegen


@intrinsic
def total(typingctx, value):
    """The sum of the lanes, as a tree."""

    def codegen(context, builder, signature, args):
        name, arguments = f"llvm.vector.reduce.fadd.v{LANES}f32", [_FLOAT(0.0), args[0]]
        return _call(builder, name, _FLOAT, arguments, ("reassoc", "nsz"))

    return types.float32(lanes), codegen


@intrinsic
def put(typingctx, address, offset, value):
    """Store one float."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, *args[:2], _FLOAT), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), codegen


@intrinsic
def maximum(typingctx, value, floor):
    """The larger of the two; NaN if `value` is."""

    def codegen(context, builder, signature, args):
        value, floor = args
        return builder.select(builder.fcmp_ordered(">", floor, value), floor, value)

    return lanes(lanes, lanes), codegen


@intrinsic
def clamp(typingctx, value, bound):
    """Within plus or minus a constant; NaN if `value` is."""

    def codegen(context, builder, signature, args):
        value, bound = args[0], _splat(builder, builder.fptrunc(args[1], _FLOAT), _VECTOR)
        low = builder.fneg(bound)
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, bound), bound, value)

    return lanes(lanes, types.float64), codegen


@intrinsic
def where_negative(typingctx, x, then, otherwise):
    """`then` where x < 0, else `otherwise`."""

    def codegen(context, builder, signature, args):
        negative = builder.fcmp_ordered("<", args[0], _constant(0.0))
        return builder.select(negative, *args[1:])

    return lanes(lanes, lanes, lanes), codegen


@intrinsic
def _times_power(typingctx, mantissa, shifted):
    """`mantissa * 2**n`, where `shifted` is `n + 1.5 * 2**23` as a float: n is in its low bits.

    n is clamped to [-126, 127], so the result underflows to about 1e-38 and saturates at about
    1e38. The clamp is on integers, which leave the multipliers free; the bits of 1.5 * 2**23 go
    out at the left end.
    """

    def codegen(context, builder, signature, args):
        n = builder.bitcast(args[1], _INTS)
        for bound, sign in ((_MAGIC_BITS - 126, "<"), (_MAGIC_BITS + 127, ">")):
            bound = _constant(bound, _INTS)
            n = builder.select(builder.icmp_signed(sign, n, bound), bound, n)
        exponent = builder.shl(n, _constant(23, _INTS))
        scaled = builder.add(builder.bitcast(args[0], _INTS), exponent)
        return builder.bitcast(scaled, _VECTOR)

    return lanes(lanes, lanes), codegen


def _call(builder, name, result, arguments, flags=()):
    """Call a function of LLVM's own."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments, fastmath=flags)


def _arithmetic(symbol, instruction):
    """Typing and code by hand: `overload` would send each use through all of numba's passes."""

    @type_callable(symbol)
    def result(context):
        return lambda x, y: lanes if x == lanes == y else None

    @lower_builtin(symbol, Lanes, Lanes)
    def operate(context, builder, signature, args):
        return getattr(builder, instruction)(*args, flags=_CONTRACT)


@inlined
def read(address, offset, count):
    """The first `count` lanes; nearly always all of them, which needs no mask."""
    return load(address, offset) if count == LANES else load_part(address, offset, count)


@inlined
def read_or_zero(address, offset, count):
    """As `read`; zeros where there is nothing to read (address 0)."""
    return read(address, offset, count) if address != 0 else full(0.0)


@inlined
def write(address, offset, value, count):
    """The counterpart of `read`."""
    if count == LANES:
        store(address, offset, value)
    else:
        store_part(address, offset, value, count)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")

_MAGIC = 1.5 * 2.0**23  # adding it rounds to an integer, which then stands in the low bits
_MAGIC_BITS = 0x4B400000
LOG2_E, LN_2 = math.log2(math.e), math.log(2.0)


@inlined
def exp2(x):
    """2**x for finite x, between about 1e-38 and 1e38; others come out as some number.

    The polynomial is exactly 1 at 0: a state that hardly decays must not drift.
    """
    shifted = x + full(_MAGIC)
    f = x - (shifted - full(_MAGIC))  # in [-1/2, 1/2]
    p = full(0.0013264727065436422)
    p = p * f + full(0.009671512648914417)
    p = p * f + full(0.05550733743690796)
    p = p * f + full(0.24022242085173223)
    p = p * f + full(0.6931469775988576)
    p = p * f + full(1.0)
    return _times_power(p, shifted)


@inlined
def exp(x):
    """e**x, infinite x included."""
    return exp2(clamp(x * full(LOG2_E), 200.0))


LARGEST = 1e15
"""The largest factor. What vanishes stops at about 1e-38 in `exp2`: times this it is nothing."""


@inlined
def alarm_of(x):
    """0, or NaN where x is NaN or infinite or about `LARGEST`: the loops are not to be trusted."""
    return x * full(3.4e38 / LARGEST) * full(0.0)


@inlined
def sigmoid(x):
    """1 / (1 + e**-x)."""
    return full(1.0) / (full(1.0) + exp(full(0.0) - x))


@inlined
def softplus(x):
    """`log(1 + e**x)` and its slope, from one exponential.

    max(x, 0) + log1p(e**-|x|), with a polynomial for log1p on [0, 1].
    """
    e = exp(full(0.0) - maximum(x, full(0.0) - x))
    p = full(-0.0032440233297711084)
    p = p * e + full(0.019851454033022308)
    p = p * e + full(-0.05695951860531735)
    p = p * e + full(0.10603653296351602)
    p = p * e + full(-0.1530559163213409)
    p = p * e + full(0.1967593893086306)
    p = p * e + full(-0.2495413359208496)
    p = p * e + full(0.33329962410360464)
    p = p * e + full(-0.4999990242253911)
    p = p * e + full(0.999999995287205)
    half = full(1.0) / (full(1.0) + e)  # of the two halves of the sigmoid, the upper
    return maximum(x, full(0.0)) + p * e, where_negative(x, e * half, half)
