"""Rendering: render many objects from many sides, and one object in known poses."""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dimscope.extras import missing
from dimscope.files import write_beside
from dimscope_experiments.ansuini2019.study import Study

__all__ = ["objects", "poses"]

SIDE = 224  # pixels
_PATTERN = 2.0  # stripes of the texture across an object
_LIT = np.array([0.8, 0.0, 0.6])  # the bright side of an object, before it is turned
_BATCH = 25  # poses between two reports of progress
_BLUR, _STEP = 8, 4  # pixels: width of the blur of known poses, and how many are kept


def objects(study: Study, n_objects: int, n_views: int) -> tuple[np.ndarray, np.ndarray]:
    """Render objects of different shapes, each rotated about the vertical axis in equal steps.

    Returns
    -------
    images : array of shape (n_objects * n_views, 3, 224, 224), uint8
    labels : array of int
    """
    settings = {"objects": n_objects, "views": n_views, "side": SIDE, "lit": _LIT.tolist()}
    path = study.kept("objects", settings) / "images.npy"
    labels = np.repeat(np.arange(n_objects), n_views)
    if path.exists():
        return np.load(path), labels
    tasks = [(number, n_views) for number in range(n_objects)]
    return _kept(path, _apart(study, "rendering objects", _views, tasks)), labels


def poses(study: Study, n_images: int, angles: int, seed: int) -> np.ndarray:
    """Render one asymmetric, textured object in poses drawn uniformly at random.

    Parameters
    ----------
    n_images : int
    angles : int
        Number of free angles: 1 rotates the object about the vertical axis; 2 also tilts it; 3
        rotates it freely.

    Returns
    -------
    array of shape (n_images, 3, 56, 56), float32
        The images are blurred. Otherwise, the sharp edges of the object would move by more than a
        pixel between poses, which bends the set of images so much that each angle would count
        twice.
    """
    settings = {"poses": n_images, "angles": angles, "seed": seed, "side": SIDE, "blur": _BLUR}
    path = study.kept("poses", settings) / "images.npy"
    if path.exists():
        return np.asarray(np.load(path))
    rng = np.random.default_rng([seed, angles])
    turn, roll = rng.uniform(0, 360, (2, n_images))
    # uniform on the sphere of directions
    tilt = np.degrees(np.arcsin(rng.uniform(-1, 1, n_images)))
    every = np.column_stack([tilt * (angles > 1), turn, roll * (angles > 2)])
    tasks = np.array_split(every, -(-n_images // _BATCH))
    return _kept(path, _apart(study, f"rendering poses of {angles} angles", _posed, tasks))


def _apart(
    study: Study, step: str, shoot: Callable[[Any], np.ndarray], tasks: Sequence[Any]
) -> np.ndarray:
    """Render in a separate process, because the LLVM versions in VTK and torch clash."""
    if importlib.util.find_spec("pyvista") is None:
        raise missing("a rendering", "pyvista")
    found = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for number, images in enumerate(pool.map(shoot, tasks)):
            found.append(images)
            study.progress(step, number + 1, len(tasks))
    return np.concatenate(found)


@cache
def _studio() -> _Studio:
    return _Studio()


def _views(task: tuple[int, int]) -> np.ndarray:
    """Render all views of one object."""
    number, n_views = task
    _studio().show(_shape(number), colour=_colour(number))
    turns = (360.0 * view / n_views for view in range(n_views))
    return np.stack([_studio().shoot((0.0, turn, 0.0)) for turn in turns])


def _posed(rotations: np.ndarray) -> np.ndarray:
    """Render the textured object in several poses, blurred."""
    from scipy.ndimage import gaussian_filter

    _studio().show(_asymmetric(), textured=True)
    images = []
    for tilt, turn, roll in rotations.tolist():
        picture = _studio().shoot((tilt, turn, roll)).astype(np.float32)
        blurred = gaussian_filter(picture, (0, _BLUR, _BLUR), truncate=3)
        images.append(blurred[:, ::_STEP, ::_STEP])
    return np.stack(images)


def _kept(path: Path, images: np.ndarray) -> np.ndarray:
    write_beside(path, lambda beside: np.save(beside, images))
    return images


class _Studio:
    """A camera, a light and a background that stay fixed while objects rotate."""

    def __init__(self) -> None:
        import pyvista

        pyvista.vtk_verbosity("off")  # otherwise it reports that there is no screen
        self._plotter = pyvista.Plotter(off_screen=True, window_size=[SIDE, SIDE], lighting="none")
        self._plotter.set_background("#9aa0a6")
        self._plotter.add_light(
            pyvista.Light(position=(3, 4, 5), light_type="scene light", intensity=0.9)
        )
        self._plotter.add_light(
            pyvista.Light(position=(-4, 1, 2), light_type="scene light", intensity=0.35)
        )
        self._plotter.camera_position = [(0, 0, 4.2), (0, 0, 0), (0, 1, 0)]
        self._plotter.enable_anti_aliasing("ssaa")

    def show(self, mesh: Any, *, colour: str = "", textured: bool = False) -> None:
        """Show an object in place of the previous one, scaled to fill the view.

        An object has either a single colour that is darker on one side, as otherwise a symmetric
        object would look the same from several sides, or a texture of many colours.
        """
        self._plotter.remove_actor("object")
        mesh = mesh.copy()
        mesh.points -= np.array(mesh.center)
        mesh.points /= np.linalg.norm(mesh.points, axis=1).max()
        mesh = mesh.compute_normals(split_vertices=True, feature_angle=40, consistent_normals=False)
        if colour:
            import pyvista

            shade = 0.7 + 0.3 * np.asarray(mesh.points) @ _LIT
            own = pyvista.Color(colour).int_rgb
            mesh["colours"] = (shade[:, None] * own).astype(np.uint8)
        if textured:
            x, y, z = np.asarray(mesh.points).T * _PATTERN
            red = 0.5 + 0.5 * np.sin(x + 2 * y)
            green = 0.5 + 0.5 * np.sin(2 * z - y + 1)
            blue = 0.5 + 0.5 * np.sin(x - 3 * z + 2)
            mesh["colours"] = (255 * np.column_stack([red, green, blue])).astype(np.uint8)
        self._actor = self._plotter.add_mesh(
            mesh, name="object", smooth_shading=True, specular=0.2, reset_camera=False,
            scalars="colours", rgb=True,
        )  # fmt: skip

    def shoot(self, rotation: tuple[float, float, float]) -> np.ndarray:
        """Render the object rotated by (tilt, turn, roll) in degrees."""
        from scipy.spatial.transform import Rotation

        tilt, turn, roll = rotation
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("yxz", [turn, tilt, roll], degrees=True).as_matrix()
        self._actor.user_matrix = matrix
        self._plotter.render()
        picture = self._plotter.screenshot(return_img=True)
        return np.ascontiguousarray(np.asarray(picture)[:, :, :3].transpose(2, 0, 1))


def _colour(number: int) -> str:
    """Return one of forty hues of similar lightness."""
    import colorsys

    red, green, blue = colorsys.hls_to_rgb((number * 0.382) % 1, 0.55, 0.45)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _shape(number: int) -> Any:
    """Make shape ``number``: a member of a family of shapes, with its own proportions."""
    import pyvista as pv

    family, member = number % 8, number // 8
    part = member / 4
    if family == 0:
        return pv.ParametricSuperToroid(n1=0.3 + 1.2 * part, n2=2.2 - 1.6 * part)
    if family == 1:
        return pv.ParametricSuperEllipsoid(
            n1=0.2 + 1.4 * part, n2=1.8 - 1.5 * part, xradius=1, yradius=0.6, zradius=0.3 + part
        )
    if family == 2:
        blades = [pv.Cylinder(direction=(np.cos(a), 0.3 * part, np.sin(a)), radius=0.15, height=2)
                  for a in np.pi * np.arange(member + 2) / (member + 2)]  # fmt: skip
        return pv.merge([*blades, pv.Cone(center=(0.0, 0.8, 0.0), direction=(0, 1, 0))])
    if family == 3:
        return pv.merge(
            [pv.Box(bounds=(-1, 1, -0.2, 0.2, -0.4, 0.4)),
             pv.Sphere(radius=0.3 + 0.1 * member, center=(0.9 - 0.4 * member, 0.5, 0)),
             pv.Cone(center=(-0.7, 0.5, 0.3), height=0.8, radius=0.2 + 0.05 * member,
                     direction=(0, 1, 0))]
        )  # fmt: skip
    if family == 4:
        height = np.linspace(-1, 1, 60)
        radius = 0.45 + 0.25 * np.sin((member + 1) * 2.2 * height + part)
        line = pv.Spline(np.column_stack([radius, height, np.zeros(60)]), n_points=60)
        handle = pv.ParametricTorus(ringradius=0.5, crosssectionradius=0.1).translate((0.7, 0, 0))
        return pv.merge([line.extrude_rotate(resolution=60, rotation_axis=(0, 1, 0), capping=False),
                         handle])  # fmt: skip
    if family == 5:
        t = np.linspace(0, 2 * np.pi, 200)
        p, q = ((2, 3), (3, 4), (2, 5), (3, 5), (1, 4))[member]
        around = 1 + 0.4 * np.cos(q * t)
        knot = np.column_stack(
            [around * np.cos(p * t), around * np.sin(p * t), 0.4 * np.sin(q * t)]
        )
        return pv.Spline(knot, n_points=400).tube(radius=0.12)
    if family == 6:
        solid = ("tetrahedron", "cube", "octahedron", "dodecahedron", "icosahedron")[member]
        spike = pv.Cone(center=(0.8, 0.6, 0.0), direction=(1, 0.7, 0), height=1.2, radius=0.3)
        return pv.merge([pv.PlatonicSolid(solid), spike])
    return pv.merge(
        [pv.Cylinder(direction=(0, 1, 0), radius=0.25 + 0.08 * member, height=1.8),
         pv.Box(bounds=(0, 1.1, 0.3 - 0.2 * member, 0.7 - 0.2 * member, -0.2, 0.2)),
         pv.Sphere(radius=0.35, center=(0, 1 - 0.15 * member, 0.2))]
    )  # fmt: skip


def _asymmetric() -> Any:
    """Make an object that looks different from every side: a sphere with unequal lumps."""
    import pyvista as pv

    mesh = pv.Sphere(radius=1.0, theta_resolution=160, phi_resolution=160)
    direction = np.asarray(mesh.points)
    rng = np.random.default_rng(0)
    radius = np.ones(len(direction))
    for height, width in zip((0.5, -0.35, 0.3, 0.6, -0.3, 0.4), (3, 5, 9, 6, 4, 12), strict=True):
        centre = rng.standard_normal(3)
        centre /= np.linalg.norm(centre)
        radius += height * np.exp(width * (direction @ centre - 1))
    mesh.points = direction * radius[:, None]
    return mesh
