"""How the tests have XLA compile: quickly, since running what comes out takes next to no time."""

QUICKLY = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        # The newer emitters of kernels take two thirds of the time that a step takes to compile.
        "--xla_cpu_use_fusion_emitters=false",
    ]
)
"""Of `XLA_FLAGS`."""
