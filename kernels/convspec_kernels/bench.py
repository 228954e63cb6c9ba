"""`python -m convspec_kernels.bench [FILE.csv]`: how fast the kernels are on this machine's GPU, as a table."""

from __future__ import annotations

from convspec_kernels import bench_gpu

if __name__ == "__main__":
    raise SystemExit(bench_gpu.main())
