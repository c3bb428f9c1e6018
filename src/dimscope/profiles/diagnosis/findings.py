"""Findings: what a diagnosis says about a profile, each with its verdict, numbers and advice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from dimscope.digits import with_error
from dimscope.html import table
from dimscope.values import by_value, from_plain, to_plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Diagnosis", "Errors", "Finding", "FindingKind", "Number", "Verdict"]


FindingKind = Literal[
    "hunchback", "untrained", "memorised labels", "dead layers", "too few dimensions",
    "lower bounds", "hubs", "few points", "repeated rows",
]  # fmt: skip
"""What a finding is about, in the order in which a diagnosis lists them."""


Verdict = Literal["found", "not found", "cannot tell"]


Errors = Literal["joint", "independent", "none"]
"""Which errors decide about differences between layers; see :class:`Diagnosis`."""


@by_value
@dataclass(frozen=True, eq=False)
class Number:
    """A number on which a verdict rests.

    Parameters
    ----------
    value : float
    std_error : float
        NaN if it has none.

    Examples
    --------
    >>> print(Number(1.523, 0.042))
    1.52 ± 0.04
    """

    value: float
    std_error: float = math.nan

    def __str__(self) -> str:
        return with_error(self.value, self.std_error)


@by_value
@dataclass(frozen=True, eq=False)
class Finding:
    """One statement about a profile: whether it holds, in which layers, and what to do.

    Parameters
    ----------
    kind : str
        What the finding is about, such as ``"hunchback"``.
    verdict : {"found", "not found", "cannot tell"}
    says : str
        What was seen, or why it cannot be told, in one sentence.
    advice : str
        What to do; empty if there is nothing to do.
    layers : tuple of str
        The layers concerned, in order of depth.
    numbers : Mapping of str to Number
        The numbers on which the verdict rests, with their standard errors.

    Examples
    --------
    >>> print(Finding("hunchback", "found", "the dimension rises 1.5 times, then falls"))
    found: hunchback: the dimension rises 1.5 times, then falls.
    """

    kind: FindingKind
    verdict: Verdict
    says: str
    advice: str = ""
    layers: tuple[str, ...] = ()
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, words in (("kind", FindingKind), ("verdict", Verdict)):
            if getattr(self, name) not in get_args(words):
                raise ValueError(
                    f"the {name} of a finding is {getattr(self, name)!r}; use one of "
                    f"{', '.join(get_args(words))}"
                )

    def __str__(self) -> str:
        advice = f" {_sentence(self.advice)}" if self.advice else ""
        return f"{self.verdict}: {self.kind}: {self.says}.{advice}"


def _sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


@by_value
@dataclass(frozen=True, eq=False)
class Diagnosis(Sequence[Finding]):
    """What a profile says about its network and about its own reliability.

    A sequence of findings; ``diagnosis.of("hunchback")`` returns the one of that kind.

    Parameters
    ----------
    findings : tuple of Finding
    name : str
        Name of the profile.
    errors : {"joint", "independent", "none"}
        Which errors decide about differences between layers: those of estimates from the same
        stimuli, those of estimates taken as independent (the influences of points were not saved),
        or none at all.

    Examples
    --------
    >>> diagnosis = Diagnosis((Finding("hubs", "not found", "no point is a hub"),), "net")
    >>> diagnosis.of("hubs").verdict
    'not found'
    >>> Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis
    True
    """

    findings: tuple[Finding, ...]
    name: str = ""
    errors: Errors = "none"

    def of(self, kind: FindingKind) -> Finding:
        """Return the finding of a kind.

        Raises
        ------
        KeyError
            If there is none.
        """
        for finding in self.findings:
            if finding.kind == kind:
                return finding
        kinds = ", ".join(finding.kind for finding in self.findings)
        raise KeyError(f"there is no finding {kind!r}; the diagnosis has {kinds}")

    def __getitem__(self, index: Any) -> Any:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __repr__(self) -> str:
        return f"Diagnosis({self})"

    def __str__(self) -> str:
        """Write what was found first, then what cannot be told, then what was not found."""
        title = [f"{self.name}:"] if self.name else []
        return "\n".join([*title, *map(str, self._ordered())])

    def _repr_html_(self) -> str:
        return table(
            ("verdict", "finding", "what was seen", "advice"),
            (
                (finding.verdict, finding.kind, finding.says, finding.advice)
                for finding in self._ordered()
            ),
            self.name,
        )

    def _ordered(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: _ORDER.index(finding.verdict))

    def to_frame(self) -> pd.DataFrame:
        """Convert to a table: one row for each finding.

        Returns
        -------
        pandas.DataFrame
            Columns ``kind``, ``verdict``, ``layers``, ``numbers``, ``says`` and ``advice``.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "kind": finding.kind,
                    "verdict": finding.verdict,
                    "layers": ", ".join(finding.layers),
                    "numbers": "; ".join(f"{name} {n}" for name, n in finding.numbers.items()),
                    "says": finding.says,
                    "advice": finding.advice,
                }
                for finding in self.findings
            ],
            columns=["kind", "verdict", "layers", "numbers", "says", "advice"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold; NaN becomes None."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def to_json(self) -> str:
        """Write the diagnosis as one JSON object."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnosis:
        """Rebuild a diagnosis from the result of :meth:`to_dict`."""
        return from_plain(cls, data)


_ORDER: tuple[Verdict, ...] = ("found", "cannot tell", "not found")
