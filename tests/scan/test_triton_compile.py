"""Every Triton kernel compiled for two GPUs, on a machine that need have none.

What is compiled is what the back end launches: launches are recorded, with tensors that have a
shape but no memory, and compiled as Triton would compile them. Registers, spills and shared memory
are read from the machine code and printed (`pytest -s`).
"""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from fcilib.scan.backend import ScanInputs

pytestmark = [
    pytest.mark.cuda_compile,
    pytest.mark.skipif(
        find_spec("triton") is None, reason="triton is not installed: pip install 'fcilib[cuda]'"
    ),
]

# Compute capability to shared memory of one block, in bytes
CARDS = {80: 163 * 1024, 90: 227 * 1024}
REGISTERS = 64 * 1024  # of one multiprocessor, either card
WARP = 32
TRITON_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
COLUMNS = "{:24} {:5} {:5} {:>9} {:>6} {:>6} {:>8}"


class Recorder:
    """In the place of a kernel: keeps what it would be launched with."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*arguments, num_warps, **constants):
            self.launches.append((self.kernel, arguments, constants, num_warps))

        return launch


@pytest.fixture
def backend(monkeypatch, tmp_path):
    from fcilib.scan.cuda import triton_scan, triton_shared

    if triton_shared.INTERPRETED:
        pytest.skip("TRITON_INTERPRET is set: there is no compiler in this process")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return triton_scan


@pytest.fixture
def launches(backend, monkeypatch):
    from fcilib.scan.cuda import triton_convolution

    found = []
    for module in (backend, triton_convolution):
        for name in dir(module):
            if name.endswith("_kernel"):
                kernel = getattr(module, name)
                monkeypatch.setattr(module, name, Recorder(kernel, found))
    return found


# B, L, d, N, and channels of a program: whole sequences by wide and by narrow programs, and a
# sequence that is cut into spans
SCANS = {(64, 256, 512, 16): 32, (8, 512, 1536, 16): 8, (1, 8192, 1536, 16): 32}
BACKWARD = ["carry", "join", "gradient"]
PLAIN, CUT = ["states", *BACKWARD], ["states", "join", "states", *BACKWARD]


def run_scan(backend, dtype, batch, length, width, states, reverse=False, initial=False):
    """Forward and backward with every option, on tensors without memory."""

    def empty(*shape, dtype=dtype):
        return torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)

    rows, maps = (batch, length, width), (batch, length, states)
    weights = ((width, states), (width,), (width,))
    A, D, bias = (empty(*shape, dtype=torch.float32) for shape in weights)
    u, delta, z, B, C = (empty(*shape) for shape in (rows, rows, rows, maps, maps))
    state = empty(batch, width, states, dtype=torch.float32) if initial else None
    inputs = ScanInputs(u, delta, A, B, C, D, z, bias, state, True, reverse)
    y, last = backend.selective_scan(inputs, want_last=True)
    torch.autograd.backward([y, last], [torch.empty_like(y), torch.empty_like(last)])


def run_conv(backend, dtype, taps=4):
    x, weight, bias = (
        torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)
        for shape in ((8, 2048, 1024), (1024, taps), (1024,))
    )
    y = backend.causal_conv_silu(x, weight, bias, False)
    y.backward(torch.empty_like(y))


def source(kernel, arguments, constants):
    """The launch as Triton's compiler wants it: types, constants, divisibility by 16."""
    from triton.compiler import ASTSource

    signature, values, facts = {}, dict(constants), {}
    for position, name in enumerate(kernel.arg_names):
        if position >= len(arguments):
            signature[name] = "constexpr"
            continue
        value = arguments[position]
        specialized = not kernel.params[position].do_not_specialize
        if value is None or (isinstance(value, int) and value == 1 and specialized):
            signature[name], values[name] = "constexpr", value
        elif torch.is_tensor(value):
            signature[name] = "*" + TRITON_NAMES[value.dtype]
            # without memory an address is the offset from the start, which the allocator aligns
            if value.data_ptr() % 16 == 0:
                facts[(position,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if specialized and value % 16 == 0:
                facts[(position,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=facts)


def compiled(launch, capability, folder):
    """The compiled kernel, and what the machine code says of its use of resources."""
    import triton
    from triton.backends.compiler import GPUTarget

    kernel, arguments, constants, num_warps = launch
    binary = triton.compile(
        source(kernel, arguments, constants),
        target=GPUTarget("cuda", capability, WARP),
        options={"num_warps": num_warps},
    )
    path = folder / "kernel.cubin"
    path.write_bytes(binary.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    told = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    usage = {
        name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", told.stdout)
    }
    assert usage.keys() == {"REG", "STACK", "LOCAL"}, told.stdout
    return binary, usage


def different(launches):
    """One of all launches that are one program to the compiler."""
    found = {}
    for launch in launches:
        kernel, arguments, constants, num_warps = launch
        found.setdefault((source(kernel, arguments, constants).hash(), num_warps), launch)
    return list(found.values())


def check(launches, capability, dtype, folder):
    """Compile, print a line each, and hold them to what a card has."""
    print("\n" + COLUMNS.format("kernel", "type", "card", "tile", "regs", "spills", "shared"))
    for launch in different(launches):
        kernel, _, constants, num_warps = launch
        binary, usage = compiled(launch, capability, folder)
        assert f".target sm_{capability}" in binary.asm["ptx"]
        assert len(binary.asm["cubin"]) > 0
        spills, shared = usage["STACK"] + usage["LOCAL"], binary.metadata.shared
        width = constants["BLOCK"] if "BLOCK" in constants else 2 * constants["LANES"]
        tile = f"{constants['STEPS']} x {width}"
        print(
            COLUMNS.format(
                kernel.__name__.removesuffix("_kernel"),
                TRITON_NAMES[dtype],
                f"sm_{capability}",
                tile,
                usage["REG"],
                spills,
                shared,
            )
        )
        assert spills == 0, kernel.__name__
        assert shared <= CARDS[capability], kernel.__name__
        assert usage["REG"] * num_warps * WARP <= REGISTERS, kernel.__name__


@pytest.mark.parametrize("capability", CARDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=TRITON_NAMES.get)
def test_scan_compiles_without_spills(dtype, capability, backend, launches, tmp_path):
    for shape, block in SCANS.items():
        begun = len(launches)
        run_scan(backend, dtype, *shape)
        names = [kernel.__name__ for kernel, *_ in launches[begun:]]
        expected = CUT if shape[1] > backend.LONG else PLAIN
        assert names == [f"scan_{name}_kernel" for name in expected]
        assert launches[begun][2]["BLOCK"] == block
    check(launches, capability, dtype, tmp_path)


@pytest.mark.parametrize("capability", CARDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=TRITON_NAMES.get)
def test_convolution_compiles_without_spills(dtype, capability, backend, launches, tmp_path):
    run_conv(backend, dtype)
    names = [launch[0].__name__ for launch in launches]
    assert names == ["conv_kernel", "conv_gradient_kernel", "conv_kernel"]
    check(launches, capability, dtype, tmp_path)


def test_many_states_and_a_short_sequence_compile_without_spills(backend, launches, tmp_path):
    """64 states are many for a walk; a segment of three chunks has another tile."""
    run_scan(backend, torch.float32, 64, 129, 256, 64)
    assert [kernel.__name__ for kernel, *_ in launches] == [f"scan_{name}_kernel" for name in PLAIN]
    walks = launches[:2]
    run_scan(backend, torch.float32, 64, 20, 256, 16)
    names = [kernel.__name__ for kernel, *_ in launches[4:]]
    assert names == [f"scan_{name}_kernel" for name in PLAIN if name != "carry"]
    check([*walks, launches[-1]], 90, torch.float32, tmp_path)


def test_awkward_shapes_compile(backend, launches, tmp_path):
    """One step, one channel: strides of 1 become constants, which have no type."""
    run_scan(backend, torch.float16, 1, 1, 1, 1, reverse=True)
    run_scan(backend, torch.float16, 3, 77, 65, 5, reverse=True, initial=True)
    for launch in different(launches):
        compiled(launch, 80, tmp_path)
