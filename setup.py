"""The compiled part of the package; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dimscope.neighbors._kernels",
            ["src/dimscope/neighbors/_kernels.c"],
            extra_compile_args=["-O3"],  # a compiler that does not know it says so, and goes on
            py_limited_api=True,
            optional=True,  # without a compiler, NumPy does the work
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for every later version
)
