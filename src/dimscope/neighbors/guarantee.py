"""Guarantee: how accurate the distances from an engine are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dimscope.digits import with_error
from dimscope.values import by_value

__all__ = ["RTOL", "Guarantee", "GuaranteeKind"]

RTOL = 1e-6  # the accuracy of the exact engine; distances closer than this count as equal

GuaranteeKind = Literal["as given", "stated", "exact", "recall"]


@by_value
@dataclass(frozen=True, eq=False)
class Guarantee:
    """The guaranteed accuracy of the distances to neighbours.

    The default guarantees nothing: the distances are used as given.

    Parameters
    ----------
    kind : {"as given", "stated", "exact", "recall"}
        ``"as given"``: no guarantee. ``"stated"``: a custom engine describes its guarantee in
        ``statement``. ``"exact"``: every distance is exact to ``rtol``, except with probability
        ``failure``. ``"recall"``: distances are exact, but some nearest neighbours may be missing;
        ``recall`` is the measured fraction found.
    rtol : float, optional
        Relative accuracy of every distance.
    failure : float
        Probability that at least one distance is wrong; 0 for certified distances.
    recall, recall_error : float, optional
        Fraction of the nearest neighbours that were found, and its standard error.
    recall_rows : int, optional
        Number of rows on which the recall was measured.
    method : str
        Method of the approximate search.
    statement : str
        The guarantee of a custom engine, in words.
    n_queries, n_distinct : int, optional
        For a sample: its size, and the number of points that were searched.
    note : str
        Note to append to the text.

    Examples
    --------
    >>> print(Guarantee())
    as given
    >>> print(Guarantee.exact(failure=1e-6))
    exact to 1e-6 with probability 1 - 1e-06
    >>> print(Guarantee.measured("faiss-hnsw", 0.99, 0.01, 100))
    approximate (faiss-hnsw), recall 0.990 ± 0.010 on 100 rows
    """

    kind: GuaranteeKind = "as given"
    rtol: float | None = None
    failure: float = 0.0
    recall: float | None = None
    recall_error: float | None = None
    recall_rows: int | None = None
    method: str = ""
    statement: str = ""
    n_queries: int | None = None
    n_distinct: int | None = None
    note: str = ""

    @classmethod
    def exact(cls, failure: float = 0.0) -> Guarantee:
        """Guarantee exact distances, except with probability ``failure``."""
        return cls("exact", rtol=RTOL, failure=failure)

    @classmethod
    def measured(cls, method: str, recall: float, error: float, n_rows: int) -> Guarantee:
        """Report a recall that was measured on ``n_rows`` rows."""
        return cls(
            "recall", rtol=RTOL, recall=recall, recall_error=error, recall_rows=n_rows,
            method=method,
        )  # fmt: skip

    @classmethod
    def stated(cls, statement: str) -> Guarantee:
        """State a guarantee in words, for custom engines.

        Examples
        --------
        >>> print(Guarantee.stated("nearest by brute force in float32"))
        nearest by brute force in float32
        """
        return cls("stated", statement=statement)

    def of_sample(self, n_queries: int, n_distinct: int) -> Guarantee:
        """Return this guarantee with the size of the sample that it applies to."""
        return replace(self, n_queries=n_queries, n_distinct=n_distinct)

    def among_some(self) -> Guarantee:
        """Return this guarantee for neighbours within a subset of the points.

        A recall measured among all points says nothing about a subset.

        Examples
        --------
        >>> print(Guarantee.exact().among_some())
        exact to 1e-6
        """
        if self.kind != "recall":
            return self
        return replace(self, note="measured in the search among all points")

    def __str__(self) -> str:
        if self.recall is not None and self.recall_error is not None:
            text = (
                f"approximate ({self.method}), recall "
                f"{with_error(self.recall, self.recall_error)} on {self.recall_rows} rows"
            )
            return f"{text} {self.note}" if self.note else text
        text = self.statement or self.kind
        if self.kind == "exact":
            text = "exact to 1e-6"
            text += f" with probability 1 - {self.failure:g}" if self.failure else ""
        if self.n_queries is not None:
            text += f", {self.n_queries} of {self.n_distinct} points"
        return f"{text}, {self.note}" if self.note else text
