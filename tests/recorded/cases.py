"""What the present version gives in many small cases, through public names only.

Every case is a function without arguments that returns plain values. Their results are kept in
``values.json`` (see ``record.py``) and compared by ``test_recorded.py``. Clouds are in float64,
from generators of NumPy; networks have exact arithmetic (``networks.py``), so that the results
are the same to 1e-12 on other processors. A case that cannot promise that states its tolerance.
"""

from recorded import (  # noqa: F401
    command_cases,
    estimator_cases,
    network_cases,
    point_cases,
    profile_cases,
)
from recorded.casebook import CASES, Case

__all__ = ["CASES", "Case"]
