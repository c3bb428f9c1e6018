"""dimscope: how many dimensions a neural network really uses, layer by layer.

>>> import dimscope as ds
>>> from dimscope.manifolds import embed, sphere
>>> ds.estimate(embed(sphere(2000, 3), 100))
Estimate(3.04 ± 0.09, n=2000)
"""

from dimscope.extras import lazy_names

__version__ = "0.1.0"

# The public names stand in the stub, __init__.pyi. They are loaded at first use, so that
# `import dimscope` loads neither torch nor SciPy, pandas or matplotlib.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
