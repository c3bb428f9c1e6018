"""Images: find the images of each class in a folder, and decode them as 8-bit RGB.

An ordinary image has the values that ``torchvision.datasets.ImageFolder`` gives, as networks are
trained on them: alpha is dropped, colour profiles are not applied, and classes and files are in the
same order. The exceptions are files that Pillow's conversion to RGB would damage, such as 16-bit
grey, and photographs that are stored turned.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dimscope.errors import BadSource, CaptureWarning, first_line, warn
from dimscope.extras import needed

with needed("image_folder"):
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

__all__ = ["ClassFolders", "Reader"]


_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_FULL = 2**16 - 1

_FEW_LEVELS = 32

_WITH_EXTRAS = ("MPO", "PSD")
"""Formats whose further frames are previews or layers of the first."""


class Reader:
    """Read image files as 8-bit RGB; warn once about each kind of content that is lost.

    Grey images of 16 bits are scaled by their full range. Float images must lie within [0, 1]. An
    EXIF orientation is applied, and of several frames the first is read.
    """

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def __call__(self, file: str) -> Image.Image:
        """Decode the image in ``file``.

        Raises
        ------
        BadSource
            If the file is not an image, is truncated, or holds values of unknown range.
        """
        try:
            with Image.open(file) as image:
                frames = 1 if image.format in _WITH_EXTRAS else getattr(image, "n_frames", 1)
                image.load()
                upright = _upright(image)
                rgb = self._as_rgb(upright, image, file)
        except (BadSource, Warning):  # a warning, where the user makes errors of them
            raise
        except FileNotFoundError as error:
            raise BadSource(f"{file} no longer exists; open the folder again") from error
        except PermissionError as error:
            raise BadSource(f"{file} may not be read; change its permissions") from error
        except UnidentifiedImageError as error:
            raise BadSource(
                f"{file} is not a readable image: Pillow does not know its format; convert the "
                "file to PNG, or remove it"
            ) from error
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and others
            raise BadSource(
                f"{file} is not a readable image: {first_line(error)}; replace the file, or "
                "remove it"
            ) from error
        if frames > 1:
            self._warn(
                "frames",
                f"{file} has {frames} frames, of which only the first is read; save each frame as "
                "a file if all are stimuli",
            )
        return rgb

    def _as_rgb(self, image: Image.Image, opened: Image.Image, file: str) -> Image.Image:
        if image.mode.startswith("I;16") or image.mode == "I":
            return self._from_integers(image, opened, file)
        if image.mode == "F":
            return _from_floats(image, file)
        if not image.has_transparency_data:
            return image.convert("RGB")
        with_alpha = image.convert("RGBA")
        if np.asarray(with_alpha)[..., 3].min() < 255:
            self._warn(
                "alpha",
                f"{file} has transparent pixels; their transparency is dropped, as torchvision and "
                "timm do, so hidden colours show; if that is not meant, save the images on an "
                "opaque background",
            )
        return with_alpha.convert("RGB")

    def _from_integers(self, image: Image.Image, opened: Image.Image, file: str) -> Image.Image:
        if image.mode == "I" and opened.format not in ("PNG", "PPM"):
            raise BadSource(
                f"{file} holds signed or 32-bit integers, whose range is unknown; scale all images "
                f"to 0 to {_FULL} by one factor and save them as unsigned 16-bit integers"
            )
        values = np.asarray(image).astype(np.int64)
        tags = getattr(opened, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (16,))
        full = 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            raise BadSource(
                f"{file} holds integers of which 0 is white, which Pillow does not invert; save it "
                "with 0 as black, for example as PNG"
            )
        levels = (values * 255 + full // 2) // full
        if 0 < levels.max() < _FEW_LEVELS or (values.any() and not levels.any()):
            self._warn(
                "dark",
                f"{file} has {full.bit_length()} bits, but its values end at {values.max()} of "
                f"{full}; scaled to 8 bits, at most {levels.max() + 1} levels remain; stretch the "
                f"values of all images to 0 to {full} by one factor, or give them as an array",
            )
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warn(f"{message} (said once; other images may be alike)", CaptureWarning)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation asks; damaged EXIF data ask for nothing."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # parsers of damaged EXIF data raise errors of many types
        return image
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _from_floats(image: Image.Image, file: str) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise BadSource(
            f"{file} holds floating-point values from {low:g} to {high:g}, but they must lie "
            "within [0, 1]; scale all images by one factor, such as 1/255"
        )
    return Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")


# --- folders -----------------------------------------------------------------------------------


_CLUTTER = {
    "thumbs.db", "desktop.ini", ".ds_store", "__macosx", "@eadir", "__pycache__", "lost+found",
    "$recycle.bin", "system volume information",
}  # fmt: skip

_OTHER_SUFFIXES = (
    ".apng", ".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".gif", ".heic", ".heif",
    ".j2k", ".jfif", ".jp2", ".jpe", ".jxl", ".nef", ".pbm", ".pcx", ".pfm", ".pnm", ".psd", ".svg",
    ".tga",
)  # fmt: skip
"""Suffixes of images that torchvision's ``ImageFolder`` skips without a word."""

_SPLIT = re.compile(
    r"(train|training|val|valid|validation|eval|dev|test|testing|holdout)"
    r"([-_ ]?(set|images|data|\d+))?",
    re.IGNORECASE,
)

_HINT = "put the images of each class in a separate folder, such as cat/1.jpg"

_SHOWN = 3


class ClassFolders(ImageFolder):  # type: ignore[misc]
    """Images in one folder for each class, in the order of torchvision's ``ImageFolder``.

    What an image viewer and an operating system leave behind is no class and no image, and every
    file that is not read is named in a warning.

    Raises
    ------
    BadSource
        If it is unclear which files are the stimuli of which class.
    """

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the names of the class folders and their numbers."""
        names = _class_folders(Path(directory))
        return names, {name: number for number, name in enumerate(names)}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int], *_: object, **__: object
    ) -> list[tuple[str, int]]:
        """Return the path and the class of every image."""
        root = Path(directory)
        visited = {os.path.realpath(root): root}
        samples: list[tuple[str, int]] = []
        skipped: list[str] = []
        for name, number in class_to_idx.items():
            files, others = _images_in(root / name, visited)
            shown = [os.path.relpath(file, root) for file in others]
            if not files:
                reason = (
                    f"it holds {_listed(shown)} without an image suffix; give the images a suffix, "
                    "such as .jpg"
                    if shown
                    else "it is empty; add images"
                )
                raise BadSource(
                    f"the class folder {root / name} has no images: {reason}, or move the folder "
                    "away"
                )
            samples += [(file, number) for file in files]
            skipped += shown
        _check_readable([file for file, _ in samples])
        if skipped:
            warn(
                f"skipped {_listed(skipped)} in {root}: without an image suffix, or hidden; "
                f"{len(samples)} {'image is' if len(samples) == 1 else 'images are'} read. Rename "
                "what should be read, and move the rest away",
                CaptureWarning,
            )
        return samples


def _class_folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise BadSource(
            f"{root} is not a folder; give a folder that holds one folder for each class"
        )
    try:
        with os.scandir(root) as scanned:
            entries = [entry for entry in scanned if not _is_clutter(entry.name)]
    except PermissionError as error:
        raise BadSource(f"{root} may not be read; change its permissions") from error
    folders = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    loose = sorted(
        entry.name for entry in entries if not entry.is_dir() and _is_image_name(entry.name)
    )
    if not folders:
        if not entries:
            raise BadSource(f"{root} is an empty folder; {_HINT}")
        raise BadSource(
            f"{root} does not hold one folder for each class"
            f"{f', but {_listed(loose)}' if loose else ''}; {_HINT}"
        )
    if loose:
        raise BadSource(
            f"{root} holds {_listed(loose)} beside class folders ({_listed(folders, '')}); move "
            "these images into a class folder, or away"
        )
    for name in folders:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BadSource(
                f"the name of the class folder {name!r} in {root} is not valid UTF-8; rename it"
            ) from None
    splits = [name for name in folders if _SPLIT.fullmatch(name)]
    if len(splits) > 1:
        raise BadSource(
            f"{root} holds {' and '.join(splits)}, which are splits of a data set, not classes; "
            f"give one of them: {' or '.join(str(root / name) for name in splits)}; if they are "
            "classes, rename them"
        )
    if len(folders) == 1 and (inside := _only_folders_in(root / folders[0])):
        raise BadSource(
            f"{root} holds a single folder, {folders[0]}, which holds folders "
            f"({_listed(inside, '')}); if these are the classes, give {root / folders[0]}; if all "
            f"images are one class, move them into {folders[0]} itself"
        )
    return folders


def _only_folders_in(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if not _is_clutter(entry.name)]
    if any(not entry.is_dir() and _is_image_name(entry.name) for entry in entries):
        return []
    return sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")


def _images_in(folder: Path, visited: dict[str, Path]) -> tuple[list[str], list[str]]:
    """Return the images in a folder and its subfolders, and the files that are not read.

    Folders that were visited are refused: each stimulus counts once.
    """
    images: list[tuple[str, list[str]]] = []
    others: list[str] = []
    for place, subfolders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            raise BadSource(
                f"{place} leads to the folder {visited[real]} again, so its images would count "
                "twice; remove this symbolic link"
            )
        visited[real] = Path(place)
        subfolders[:] = [name for name in subfolders if name[0] != "." and not _is_clutter(name)]
        names = sorted(name for name in names if not _is_clutter(name))
        read = [name for name in names if _is_image_name(name) and name[0] != "."]
        images.append((place, read))
        others += [os.path.join(place, name) for name in names if name not in set(read)]
    # the order of torchvision's ImageFolder, with which published labels are in line
    return [os.path.join(place, name) for place, read in sorted(images) for name in read], others


def _raise(error: OSError) -> None:
    raise BadSource(
        f"the folder {error.filename} cannot be read: {error.strerror}; change its permissions"
    ) from error


def _is_image_name(name: str) -> bool:
    return name.lower().endswith((*IMG_EXTENSIONS, *_OTHER_SUFFIXES))


def _is_clutter(name: str) -> bool:
    return name.lower() in _CLUTTER or name.startswith("._")


def _check_readable(files: list[str]) -> None:
    """Refuse files that cannot be images, before the network runs for hours on the others."""
    wrong = []
    suffixes = set()
    for file in files:
        try:
            status = os.stat(file)
        except OSError as error:
            wrong.append(f"{file} (not readable: {error.strerror})")
            continue
        suffix = os.path.splitext(file)[1].lower()
        if not stat.S_ISREG(status.st_mode):
            wrong.append(f"{file} (not a file)")
        elif status.st_size == 0:
            wrong.append(f"{file} (empty)")
        elif suffix in _OTHER_SUFFIXES and suffix not in suffixes:
            suffixes.add(suffix)
            try:
                Image.open(file).close()
            except Exception:  # see Reader
                n = sum(other.lower().endswith(suffix) for other in files)
                known = suffix in Image.registered_extensions()
                reason = "damaged" if known else f"Pillow cannot read {suffix} here; {n} in all"
                wrong.append(f"{file} ({reason})")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise BadSource(
            f"not readable as images: {', '.join(wrong[:_SHOWN])}{more}; convert these files to "
            "PNG or JPEG, or move them away"
        )


def _listed(names: list[str], kind: str = "file") -> str:
    """Count the files and name the first ones."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    listed = f"{', '.join(names[:_SHOWN])}{more}"
    return listed if not kind else f"{len(names)} {kind}{'s' * (len(names) != 1)} ({listed})"
