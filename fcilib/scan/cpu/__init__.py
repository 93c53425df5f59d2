"""The scan and the convolution on a CPU: kernels that numba compiles, and their callers."""
