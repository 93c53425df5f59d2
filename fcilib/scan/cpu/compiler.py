"""From a kernel in Python to an object file, by numba and LLVM."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import get_args, get_type_hints

import llvmlite.binding as llvm
from numba import njit, types


def object_code(function: Callable[..., None], machine: llvm.TargetMachine) -> bytes:
    """An object file with a function of the same name, `int32 (int64 *arguments)`.

    `arguments` are the integers, tuples laid flat: one pointer to convert, not dozens of numbers,
    while the interpreter's lock is held. The result is not zero if an exception was raised.

    Args:
        function: parameters are tuples of integers where annotated so, integers elsewhere.
        machine: what to compile for.
    """
    # Without wrappers nothing in it refers to numba or to Python.
    compiled = njit(
        types.void(*_parameters(function)),
        boundscheck=False,
        error_model="numpy",
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    module = llvm.parse_assembly(compiled.inspect_llvm(compiled.signatures[0]))
    # What it calls may be in there too, but is not external: it can be linked more than once.
    (entry,) = (
        found
        for found in module.functions
        if found.linkage == llvm.Linkage.external and not found.is_declaration
    )
    entry.name = f"numba.{function.__name__}"
    integers = sum(getattr(kind, "count", 1) for kind in _parameters(function))
    module.link_in(llvm.parse_assembly(_front(function.__name__, entry.name, integers)))
    return machine.emit_object(module)


def _parameters(function: Callable[..., None]) -> list[types.Type]:
    hints = get_type_hints(function)
    sizes = [len(get_args(hints.get(name))) for name in inspect.signature(function).parameters]
    return [types.UniTuple(types.int64, size) if size else types.int64 for size in sizes]


def _front(name: str, numbas: str, integers: int) -> str:
    """From an array to numba's own way to pass arguments: places for result and exception first."""
    loads = "".join(
        f"%p{i} = getelementptr i64, ptr %arguments, i64 {i}\n%a{i} = load i64, ptr %p{i}\n"
        for i in range(integers)
    )
    return f"""
        declare i32 @"{numbas}"(ptr, ptr{", i64" * integers})
        define i32 @"{name}"(ptr %arguments) {{
            %result = alloca ptr
            %exception = alloca ptr
            {loads}
            %status = call i32 @"{numbas}"(
                ptr %result, ptr %exception{"".join(f", i64 %a{i}" for i in range(integers))}
            )
            ret i32 %status
        }}
    """
