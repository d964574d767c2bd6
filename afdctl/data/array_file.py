"""Files of named arrays (.npz, .safetensors, .h5): their shapes, and each array read whole or mapped into memory.

Nothing in a file is executed: arrays of Python objects, which only pickle can read, are listed and never read.
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import h5py
import numpy as np

from afdctl.errors import CorruptError, NotFoundError, out_of_memory
from afdctl.formatting import one_line_error

Result = TypeVar("Result")
NumpyArray = np.ndarray[Any, np.dtype[Any]]

SAFETENSORS_DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    **{f"U{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"I{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
# bfloat16 and the 8-bit floats, which NumPy does not have
NO_NUMPY_DTYPE: Final = "V2"
# bytes of a zip member's header before its name, and where in it the lengths of name and extra field are
ZIP_HEADER_BYTES: Final = 30
ZIP_LENGTHS_AT: Final = 26


@dataclass(frozen=True)
class StoredArray:
    """An array in a file. `map` returns it memory-mapped; None where it is compressed, chunked or byte-swapped."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NumpyArray]
    map: Callable[[], NumpyArray] | None

    @property
    def nbytes(self) -> int:
        # Python's integers: a damaged header may claim more than 64 bits of it
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def open_arrays(path: Path) -> dict[str, StoredArray]:
    """List the arrays of a file. Errors: NotFoundError if it cannot be opened, CorruptError for a damaged file."""
    return guarded(path, lambda: READERS[path.suffix.lower()](path))


def guarded(path: Path, work: Callable[[], Result]) -> Result:
    """Return `work()`, and name `path` in its errors."""
    try:
        return work()
    except PermissionError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:
        # a wrong byte can raise anything in the parsers
        if out_of_memory(error):
            raise
        reason = one_line_error(error)
        raise CorruptError(f"{path}: not a {path.suffix} file of arrays, or damaged ({reason})") from error


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: Any = "C") -> NumpyArray:
    # read only: the system refuses a writable private map of more than its memory
    return np.memmap(path, dtype, "r", offset, shape, order)


def _npz(path: Path) -> dict[str, StoredArray]:
    with ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        return {member.filename.removesuffix(".npy"): _npz_member(path, archive, member) for member in members}


def _npz_member(path: Path, archive: ZipFile, member: ZipInfo) -> StoredArray:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
        npy_header = stream.tell()

    def read() -> NumpyArray:
        with np.load(path, allow_pickle=False) as arrays:
            array: NumpyArray = arrays[name]
            return array

    def map_file() -> NumpyArray:
        with path.open("rb") as file:
            file.seek(member.header_offset + ZIP_LENGTHS_AT)
            name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
        offset = member.header_offset + ZIP_HEADER_BYTES + name_bytes + extra_bytes + npy_header
        return _mapped(path, dtype, offset, shape, "F" if is_fortran else "C")

    can_map = member.compress_type == ZIP_STORED and dtype.isnative and not dtype.hasobject
    return StoredArray(shape, dtype, read, map_file if can_map else None)


def _safetensors(path: Path) -> dict[str, StoredArray]:
    from safetensors import safe_open

    # first, because it checks the header
    with safe_open(path, "np") as tensors:
        names = list(tensors.keys())
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    arrays = {}
    for name in names:
        dtype = np.dtype(SAFETENSORS_DTYPES.get(header[name]["dtype"], NO_NUMPY_DTYPE))
        shape, (begin, _) = tuple(header[name]["shape"]), header[name]["data_offsets"]
        map_file = partial(_mapped, path, dtype, 8 + header_bytes + begin, shape)
        arrays[name] = StoredArray(shape, dtype, partial(_read_safetensors, path, name), map_file)
    return arrays


def _read_safetensors(path: Path, name: str) -> NumpyArray:
    from safetensors import safe_open

    with safe_open(path, "np") as tensors:
        array: NumpyArray = tensors.get_tensor(name)
        return array


def _h5(path: Path) -> dict[str, StoredArray]:
    with h5py.File(path, "r") as file:
        return {name: _h5_array(path, item) for name, item in file.items() if isinstance(item, h5py.Dataset)}


def _h5_array(path: Path, item: h5py.Dataset) -> StoredArray:
    # None unless the array is stored as one block
    offset = item.id.get_offset()
    in_this_file = not item.id.get_create_plist().get_external_count()
    can_map = offset is not None and in_this_file and item.dtype.isnative and not item.dtype.hasobject
    map_file = partial(_mapped, path, item.dtype, offset, item.shape) if can_map else None
    return StoredArray(item.shape or (), item.dtype, partial(_read_h5, path, item.name), map_file)


def _read_h5(path: Path, name: str) -> NumpyArray:
    with h5py.File(path, "r") as file:
        array: NumpyArray = file[name][()]
        return array


READERS: Final[Mapping[str, Callable[[Path], dict[str, StoredArray]]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _h5,
    ".hdf5": _h5,
}
