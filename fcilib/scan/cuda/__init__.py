"""The scan and the convolution on a CUDA device: in Triton, and the official kernels."""
