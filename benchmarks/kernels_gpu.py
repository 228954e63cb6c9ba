"""The kernels on a GPU, as a table: time, bytes, fraction of a copy's bandwidth, ratio to eager and to torch.compile.

python benchmarks/kernels_gpu.py [FILE.csv]
"""

from __future__ import annotations

from convspec_kernels import bench_gpu

if __name__ == "__main__":
    raise SystemExit(bench_gpu.main())
