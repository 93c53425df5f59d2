"""Machine code of the kernels: numba makes it once, later processes load it without numba.

numba has a cache of its own, but to load from it numba first sets up its whole compiler (and
imports scipy where there is one), which takes far longer than a small scan. Here the kernel's
object file is kept instead, and llvmlite, which numba stands on, links it into the process.

A file's name holds a hash of all that its content depends on; its first bytes are a hash of the
rest, so that a file cut short is noticed. Places, the first that can be written: the folder
`NUMBA_CACHE_DIR` if set, or else `__pycache__` beside this file, the user's cache. If there is
none, every process compiles anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm

from fcilib.storage.files import write_atomic

_HERE = Path(__file__).parent
# What every kernel's code depends on, besides its own module.
_COMMON = ("compiler", "lanes", "layout", "machine_code")
_HASH_BYTES = hashlib.sha256().digest_size
_lock = threading.RLock()


class Kernel:
    """A function of a kernel module, compiled when first called; the call releases the GIL.

    Args:
        module: the module in this folder that defines it; imported only to compile.
        name: the function. Its parameters are integers and, where annotated so, tuples of
            integers; it returns nothing, and nothing in it can raise.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self._entry: Callable[..., int] | None = None

    def __call__(self, *integers: int) -> None:
        """All the arguments, tuples laid flat."""
        self.bind(*integers)()

    def bind(self, *integers: int) -> Callable[[], None]:
        """The call with these arguments, to be made later, perhaps by another thread."""
        if self._entry is None:
            self._prepare()
        return partial(self._entry, (ctypes.c_int64 * len(integers))(*integers))

    def _prepare(self) -> None:
        with _lock:
            if self._entry is None:
                file = f"{self.name}-{_fingerprint(self.module)}.o"
                code = _find(file)
                if code is None:
                    code = self._compile()
                    _keep(file, code)
                self._entry = _link(code, self.name)

    def _compile(self) -> bytes:
        compiler = import_module("fcilib.scan.cpu.compiler")
        module = import_module(f"fcilib.scan.cpu.{self.module}")
        return compiler.object_code(getattr(module, self.name), _target_machine())


def _target_machine() -> llvm.TargetMachine:
    """Not to be shared: an engine owns the one it is given."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    cpu, features = _processor()
    return target.create_target_machine(
        cpu=cpu,
        features=features,
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _processor() -> tuple[str, str]:
    """Name and features of this one, or of the one that numba is told to compile for."""
    return (
        os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name(),
        os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten(),
    )


def _check(status: int, entry: object, arguments: tuple) -> None:
    if status:
        raise RuntimeError("a kernel raised an exception")


def _link(code: bytes, name: str) -> Callable[..., int]:
    """The function of that name in an object file, as one that Python can call."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(engine.get_function_address(name))
    entry.errcheck = _check
    entry.engine = engine  # owns the code
    return entry


@cache
def _fingerprint(module: str) -> str:
    """16 hexadecimal digits: a hash of sources, compiler and processor."""
    facts = [
        version("numba"),
        version("llvmlite"),
        llvm.get_process_triple(),
        *_processor(),
        os.environ.get("NUMBA_OPT", ""),
    ]
    found = hashlib.sha256("\n".join(facts).encode())
    for name in (*_COMMON, module):
        found.update((_HERE / f"{name}.py").read_bytes())
    return found.hexdigest()[:16]


def _folders() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
        return
    yield _HERE / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "fcilib")


def _find(file: str) -> bytes | None:
    for folder in _folders():
        try:
            content = (folder / file).read_bytes()
        except OSError:
            continue
        seal, code = content[:_HASH_BYTES], content[_HASH_BYTES:]
        if hashlib.sha256(code).digest() == seal:
            return code
    return None


def _keep(file: str, code: bytes) -> None:
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / file, hashlib.sha256(code).digest() + code)
        except OSError:
            continue
        return
