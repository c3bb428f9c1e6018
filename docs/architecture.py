"""Draw the map of the package from its imports: ``python docs/architecture.py``.

``--check`` writes nothing and exits with 1 if the picture is not current.
"""

from __future__ import annotations

import ast
import math
import sys
from collections import Counter
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "src" / "dimscope"
PICTURE = DOCS / "images" / "architecture.svg"

# The folders in the order of the data, with what comes in and goes out, and a colour.
FOLDERS = {
    "arrays": ("arrays of any kind → Points", "#0b5d91"),
    "neighbors": ("Points → Neighbors, with a Guarantee", "#a8500a"),
    "estimators": ("Neighbors or Spectrum → Estimate", "#00755a"),
    "analysis": ("points or Estimates → curves, differences, tests", "#8a3f73"),
    "activations": ("one array of points per layer, in memory or in a store", "#7a6a00"),
    "profiles": ("Activations → Profile, Comparison", "#8c1d2e"),
    "networks": ("network + data → Activations, Profile", "#3d4aa0"),
    "monitoring": ("network in training + probe → history of Profiles, alarms", "#a03d6b"),
    "plotting": ("values → axes", "#4d6b1f"),
    "reports": ("Profiles → one HTML page", "#0b6e6e"),
    "cli": ("one command, one public call", "#555555"),
}

_CAPTION = (
    "Points enter at the bottom; each folder builds on those below it.",
    "An arrow leads from the folders that import to the one they import from; wider lines carry "
    "more imports.",
)
_WIDTH, _MARGIN = 900, 20
_BOX = 676  # width of a folder's box
_LANE = 22  # distance between two lines beside the boxes
_GAP = 22  # between two boxes, for the arrowheads
_LINE, _TITLE, _PADDING = 20, 24, 12  # heights
_COLUMNS = 4  # of module names in a box


def source_trees() -> dict[str, ast.Module]:
    """Parse every module of the package, by its path within the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }


_SHOWING = ("plot", "_repr_html_")


def imported_modules(tree: ast.AST) -> set[str]:
    """Return the dotted names that a module imports from the package.

    Methods that show a value are left out: they alone may import what comes later.
    """
    stack, names = [tree], set()
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef) and node.name in _SHOWING:
            continue
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dimscope."):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        stack += ast.iter_child_nodes(node)
    return names


def import_graph() -> dict[str, set[str]]:
    """Return module -> modules of the package that it imports, by their dotted names."""
    modules = {
        "dimscope." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): tree
        for name, tree in source_trees().items()
    }
    return {name: imported_modules(tree) & set(modules) - {name} for name, tree in modules.items()}


def folder_imports(graph: dict[str, set[str]]) -> Counter[tuple[str, str]]:
    """Count the imports from one folder to another, as (importer, imported)."""
    counts = Counter(
        (name.split(".")[1], other.split(".")[1])
        for name, others in graph.items()
        for other in others
        if name.count(".")
    )
    return Counter(
        {(a, b): n for (a, b), n in counts.items() if a != b and a in FOLDERS and b in FOLDERS}
    )


def draw() -> str:
    """Return the picture as SVG text: one box a folder, arrows for the imports between them."""
    graph = import_graph()
    folders = list(FOLDERS)
    modules, single = _modules(graph, folders)
    shapes: list[str] = []
    top, spans = _MARGIN + 44.0, {}  # filled from the top, although the data enter at the bottom
    for folder in reversed(folders):
        height = _draw_folder(shapes, folder, modules[folder], top)
        spans[folder] = (top, top + height)
        top += height + _GAP
    shapes += _arrows(folder_imports(graph), folders, spans)
    shapes.append(_text(_MARGIN, top + 4, "single modules:", "name"))
    for number, name in enumerate(single):
        shapes.append(_text(_MARGIN + 130 + 104 * number, top + 4, name, "module"))
    height = top + _MARGIN
    return "\n".join([*_head(height), *shapes, "</svg>", ""])


def _modules(
    graph: dict[str, set[str]], folders: list[str]
) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """Return folder -> inner folder (or "") -> modules, and the modules outside of folders."""
    modules: dict[str, dict[str, list[str]]] = {folder: {"": []} for folder in folders}
    single = []
    for name in sorted(graph):
        _, *parts = name.split(".")
        if len(parts) == 1 and parts[0] not in modules and not parts[0].startswith("_"):
            single.append(parts[0])
        elif len(parts) > 1:
            is_folder = any(other.startswith(f"{name}.") for other in graph)
            inner = "/".join(parts[1:] if is_folder else parts[1:-1])
            names = modules[parts[0]].setdefault(inner, [])
            if not is_folder:
                names.append(parts[-1])
    return modules, single


def _draw_folder(
    shapes: list[str], folder: str, modules: dict[str, list[str]], top: float
) -> float:
    """Draw a box with its modules, and return its height."""
    flow, colour = FOLDERS[folder]
    inside: list[str] = []
    y = top + _TITLE + 8
    for inner, names in modules.items():
        x, width = _MARGIN + 16, _BOX - 24
        n_rows = math.ceil(len(names) / _COLUMNS)
        if inner:
            height = _TITLE + n_rows * _LINE + 6
            inside.append(
                f'<rect x="{x - 8:g}" y="{y + 4:g}" width="{width:g}" height="{height:g}" rx="4" '
                f'fill="#ffffff" stroke="{colour}" stroke-width="1"/>'
            )
            y += _TITLE
            inside.append(_text(x, y - 2, f"{inner}/", "name", colour))
        for number, name in enumerate(names):
            row, column = divmod(number, _COLUMNS)
            inside.append(
                _text(x + column * (width / _COLUMNS), y + (row + 1) * _LINE - 3, name, "module")
            )
        y += n_rows * _LINE + (10 if inner else 0)
    box_height = y + _PADDING - 4 - top
    shapes.append(
        f'<rect x="{_MARGIN}" y="{top:g}" width="{_BOX}" height="{box_height:g}" rx="5" '
        f'fill="#f7f7f5" stroke="{colour}" stroke-width="1.5"/>'
    )
    shapes.append(_text(_MARGIN + 16, top + _TITLE, f"{folder}/", "folder", colour))
    shapes.append(_text(_MARGIN + 150, top + _TITLE, flow, "flow"))
    shapes += inside
    return box_height


def _arrows(
    counts: Counter[tuple[str, str]],
    folders: list[str],
    spans: dict[str, tuple[float, float]],
) -> list[str]:
    """Draw one line down to each folder, joined by those that import from it.

    A line is as wide as the root of the number of imports that it carries.
    """
    upward = [pair for pair in counts if folders.index(pair[0]) < folders.index(pair[1])]
    if upward:
        raise ValueError(f"imports against the way of the data: {sorted(upward)}")
    levels = _levels(counts, folders, spans)
    imported = [folder for folder in folders if any(b == folder for _, b in counts)]
    right = _MARGIN + _BOX
    lines, heads = [], []
    for number, folder in enumerate(reversed(imported), 1):
        colour = FOLDERS[folder][1]
        x = right + _LANE * number + 4  # the longest lines outside
        importers = [name for name in reversed(folders) if counts[name, folder]]
        end = spans[folder][0] + 13
        turns = [levels[name, folder] for name in importers]
        total = 0
        for importer, y, below in zip(importers, turns, [*turns[1:], end], strict=True):
            n = counts[importer, folder]
            total += n
            title = f"<title>{importer} imports from {folder}: {n}</title>"
            lines.append(_line(right, y, x, y, n, colour, title))
            lines.append(_line(x, y, x, below, total, colour))
        lines.append(_line(x, end, right + 9, end, total, colour))
        size = 5 + 0.5 * _thickness(total)
        heads.append(
            f'<path d="M{right + 1:g} {end:g}l11 {-size:g}v{2 * size:g}z" fill="{colour}"/>'
        )
    return lines + heads


def _levels(
    counts: Counter[tuple[str, str]],
    folders: list[str],
    spans: dict[str, tuple[float, float]],
) -> dict[tuple[str, str], float]:
    """Return the heights at which the lines leave a box, below the arrow that enters it."""
    levels = {}
    for importer in folders:
        top, bottom = spans[importer]
        imported = [name for name in reversed(folders) if counts[importer, name]]
        for number, name in enumerate(imported):
            levels[importer, name] = top + 26 + (bottom - top - 30) * (number + 0.5) / len(imported)
    return levels


def _thickness(n: int) -> float:
    return 1.1 * math.sqrt(n)


def _line(
    x: float, y: float, to_x: float, to_y: float, n: int, colour: str, title: str = ""
) -> str:
    return (
        f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{colour}" '
        f'stroke-width="{_thickness(n):.2f}" stroke-linecap="round" fill="none">{title}</path>'
    )


def _text(x: float, y: float, text: str, kind: str, colour: str = "#222222") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" fill="{colour}">{escape(text)}</text>'


def _head(height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" '
        f'width="{_WIDTH}" height="{height:g}" role="img">',
        "<title>The folders of dimscope, their modules, and the imports between them</title>",
        "<style>text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:13px}"
        ".folder{font-size:17px;font-weight:bold}.name{font-weight:bold}"
        ".flow{font-style:italic}</style>",
        f'<rect width="{_WIDTH}" height="{height:g}" fill="#ffffff"/>',
        _text(_MARGIN, 26, _CAPTION[0], "name"),
        _text(_MARGIN, 46, _CAPTION[1], "module"),
    ]


def main(arguments: list[str]) -> int:
    """Write the picture, or check that it is current."""
    picture = draw()
    if "--check" in arguments:
        if PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture:
            print("the map is current")
            return 0
        print("the map is not current; run: python docs/architecture.py", file=sys.stderr)
        return 1
    PICTURE.write_text(picture, encoding="utf-8", newline="\n")
    print(f"wrote {PICTURE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
