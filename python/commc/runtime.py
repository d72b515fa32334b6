"""Runs executables in this process through the C interface of the runtime (comm-c/runtime.h).

    with Session(load("m.commx")) as session:
        outputs = session.run({"input_ids": ids, "attention_mask": mask})

The library is looked for in the folder named by COMMC_LIB, then in `build/lib` of this source tree, then where the system loads libraries from.
"""

from __future__ import annotations

import ctypes
import math
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import NamedTuple

import numpy as np

from commc import tools

LIBRARY = "libcommc_runtime.so"
# By number of comm_dtype. bfloat16 has no numpy type: its bits are carried.
DTYPES = [np.dtype(name) for name in ("f4", "f2", "u2", "f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")]
BF16 = 2


class RuntimeFailed(RuntimeError):
    """A call of the runtime failed. `status` is its comm_status, the text its sentence."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Port(NamedTuple):
    """An input or output of an entry. `dtype` of bfloat16 is uint16."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    number: int  # of comm_dtype


class _Tensor(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int32), ("rank", c_int32), ("dims", POINTER(c_int64)), ("data", c_void_p), ("bytes", c_size_t)]


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("ranks_as", c_int32), ("reference", c_int32), ("trust_native", c_int32), ("trace", c_int32),
                ("threads", c_int32), ("timeout_ms", c_int64), ("link", c_char_p), ("transport", c_int32), ("native_code", c_int32),
                ("pinning", c_int32), ("packed_cache", c_char_p)]


class _Stats(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("last_ms", c_double), ("wait_ms_max", c_double), ("bytes_sent_per_rank", c_int64),
                ("collectives_planned", c_int64), ("collectives_executed", c_int64), ("arena_bytes", c_int64), ("weight_bytes", c_int64),
                ("ranks", c_int64), ("compute_ms", c_double), ("communication_ms", c_double), ("hidden_ms", c_double), ("exposed_ms", c_double),
                ("late_ms", c_double), ("rank", c_int64), ("kernels", c_int64), ("interpreted", c_int64), ("pinned", c_int64), ("outside_ms", c_double),
                ("weight_bytes_shared", c_int64), ("weight_bytes_packed", c_int64), ("weight_bytes_read", c_int64), ("weight_bytes_kept", c_int64),
                ("peak_bytes", c_int64), ("bytes_passed", c_int64), ("bytes_parted", c_int64)]


def _library() -> ctypes.CDLL:
    given = os.environ.get("COMMC_LIB")
    path = Path(given) / LIBRARY if given else tools.ROOT / "build" / "lib" / LIBRARY
    try:
        library = ctypes.CDLL(str(path) if given or path.exists() else LIBRARY)
    except OSError as error:
        raise tools.ToolMissing(f"{LIBRARY} cannot be loaded ({error}); build it (utils/build.sh commc_runtime) or set COMMC_LIB to its folder") from None
    for name, result, arguments in (
            ("comm_executable_load", c_int32, [c_char_p, POINTER(c_void_p)]), ("comm_executable_free", None, [c_void_p]),
            ("comm_executable_entry_count", c_int32, [c_void_p]), ("comm_executable_entry_name", c_char_p, [c_void_p, c_int32]),
            ("comm_executable_port_count", c_int32, [c_void_p, c_int32, c_int32]),
            ("comm_executable_port", c_int32, [c_void_p, c_int32, c_int32, c_int32, POINTER(_Tensor)]),
            ("comm_executable_state_count", c_int32, [c_void_p, c_int32]),
            ("comm_executable_state", c_int32, [c_void_p, c_int32, c_int32, POINTER(c_char_p), POINTER(c_char_p)]),
            ("comm_executable_entry_for", c_int32, [c_void_p, POINTER(_Tensor), c_int32]),
            ("comm_executable_output_dims", c_int32, [c_void_p, c_int32, POINTER(_Tensor), c_int32, c_int32, POINTER(c_int64)]),
            ("comm_executable_prediction", c_double, [c_void_p, c_char_p]), ("comm_session_create", c_int32, [c_void_p, POINTER(_Options), POINTER(c_void_p)]), ("comm_session_free", None, [c_void_p]),
            ("comm_session_run", c_int32, [c_void_p, c_int32, POINTER(_Tensor), c_int32, POINTER(_Tensor), c_int32]),
            ("comm_session_memory", c_int32, [c_void_p, c_int32, c_int32, c_int32, POINTER(c_void_p)]),
            ("comm_session_keep_state", c_int32, [c_void_p, c_int32]), ("comm_session_reset_state", c_int32, [c_void_p]),
            ("comm_session_set_state", c_int32, [c_void_p, POINTER(_Tensor)]),
            ("comm_session_get_state", c_int32, [c_void_p, c_char_p, POINTER(_Tensor)]),
            ("comm_session_stats_get", c_int32, [c_void_p, POINTER(_Stats)]), ("comm_last_error", c_char_p, [])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_loaded: ctypes.CDLL | None = None


def library() -> ctypes.CDLL:
    """The runtime library. Raises tools.ToolMissing with the sentence to show."""
    global _loaded
    if _loaded is None:
        _loaded = _library()
    return _loaded


def _check(status: int) -> None:
    if status != 0:
        raise RuntimeFailed(status, library().comm_last_error().decode())


def _shapes(arrays: dict[str, np.ndarray]):
    """Names and shapes alone."""
    tensors = (_Tensor * max(1, len(arrays)))()
    for tensor, (name, array) in zip(tensors, arrays.items()):
        tensor.name, tensor.rank = name.encode(), array.ndim
        tensor.dims = (c_int64 * max(1, array.ndim))(*array.shape)
    return tensors


class Executable:
    """A compiled model. `entries` maps an entry's name to its number; ports and states are by that number."""

    def __init__(self, path: Path | str):
        self.handle = c_void_p()
        _check(library().comm_executable_load(os.fsencode(path), byref(self.handle)))
        count = library().comm_executable_entry_count(self.handle)
        self.entries = {library().comm_executable_entry_name(self.handle, i).decode(): i for i in range(count)}
        self.inputs = [self._ports(i, 0) for i in range(count)]
        self.outputs = [self._ports(i, 1) for i in range(count)]
        self.states = [self._states(i) for i in range(count)]

    def _ports(self, entry: int, outputs: int) -> list[Port]:
        found = []
        for index in range(library().comm_executable_port_count(self.handle, entry, outputs)):
            tensor = _Tensor()
            _check(library().comm_executable_port(self.handle, entry, outputs, index, byref(tensor)))
            found.append(Port(tensor.name.decode(), DTYPES[tensor.dtype], tuple(tensor.dims[: tensor.rank]), tensor.dtype))
        return found

    def _states(self, entry: int) -> list[tuple[str, str]]:
        found = []
        for index in range(library().comm_executable_state_count(self.handle, entry)):
            source, target = c_char_p(), c_char_p()
            _check(library().comm_executable_state(self.handle, entry, index, byref(source), byref(target)))
            found.append((source.value.decode(), target.value.decode()))
        return found

    def entry_for(self, inputs: dict[str, np.ndarray]) -> int:
        """Number of the entry whose inputs have the shapes of these, else of the smallest one that takes them; states may be left out where shapes agree.
        Raises ValueError when there is none."""
        for entry, ports in enumerate(self.inputs):
            states = {name for name, _ in self.states[entry]}
            if all(inputs[port.name].shape == port.shape if port.name in inputs else port.name in states for port in ports):
                return entry
        entry = library().comm_executable_entry_for(self.handle, _shapes(inputs), len(inputs))
        if entry >= 0:
            return entry
        raise ValueError("no entry has inputs of these shapes: " + ", ".join(f"{name} {array.shape}" for name, array in inputs.items()))

    def output_shapes(self, entry: int, inputs: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
        """Shapes of an entry's outputs for these inputs."""
        found = []
        for index, port in enumerate(self.outputs[entry]):
            dims = (c_int64 * max(1, len(port.shape)))()
            _check(library().comm_executable_output_dims(self.handle, entry, _shapes(inputs), len(inputs), index, dims))
            found.append(tuple(dims[: len(port.shape)]))
        return found

    def prediction(self, name: str) -> float:
        """What the compiler predicted, as in "step_us.main"; NaN when it said nothing."""
        return library().comm_executable_prediction(self.handle, name.encode())

    def __del__(self):
        if getattr(self, "handle", None):
            library().comm_executable_free(self.handle)


def _empty(port: Port) -> np.ndarray:
    """An array that begins at a cache line, which stores like."""
    line = 64
    size = math.prod(port.shape) * np.dtype(port.dtype).itemsize
    memory = np.empty(size + line, np.uint8)
    first = -memory.ctypes.data % line
    return memory[first:first + size].view(port.dtype).reshape(port.shape)


def _describe(tensor: _Tensor, name: str, dtype: int, array: np.ndarray) -> None:
    tensor.name, tensor.dtype, tensor.rank = name.encode(), dtype, array.ndim
    tensor.dims = (c_int64 * max(1, array.ndim))(*array.shape)
    tensor.data, tensor.bytes = array.ctypes.data, array.nbytes


class Bound:
    """Inputs and outputs of one entry in buffers that stay: call it as often as you like. `outputs` holds the last results.

    What the session carries (see keep_state) needs no buffer: state inputs may be left out, state outputs are not among `outputs`.
    With `in_place` the buffers are where the ranks read and write, and no call copies them; they are gone when the session is closed.
    """

    def __init__(self, session: Session, inputs: dict[str, np.ndarray], entry: int, in_place: bool = False):
        executable = session.executable
        self.session, self.entry = session, entry
        ports = executable.inputs[entry]
        carried = executable.states[entry] if session.carries else []
        missing = [port.name for port in ports if port.name not in inputs and port.name not in dict(carried)]
        if missing:
            raise ValueError(f"inputs are missing: {', '.join(missing)}")
        self.inputs = {port.name: np.ascontiguousarray(inputs[port.name], port.dtype) for port in ports if port.name in inputs}
        given = [port for port in executable.outputs[entry] if port.name not in dict(carried).values()]
        if len(self.inputs) == len(ports):
            shapes = executable.output_shapes(entry, self.inputs)
            given = [port._replace(shape=shape) for port, shape in zip(executable.outputs[entry], shapes) if port in given]
        self.outputs = {port.name: _empty(port) for port in given}
        self.in_place = in_place
        if in_place:
            self._move_in(executable)
        self._in = self._tensors([port for port in ports if port.name in inputs], self.inputs)
        self._out = self._tensors(given, self.outputs)

    def _move_in(self, executable: Executable) -> None:
        """Replaces buffers by those of the ranks, where these have a place of their own."""
        for arrays, ports, outputs in ((self.inputs, executable.inputs[self.entry], 0), (self.outputs, executable.outputs[self.entry], 1)):
            for index, port in enumerate(ports):
                array = arrays.get(port.name)
                if array is None or not array.nbytes or array.shape != port.shape:  # smaller ones are filled up on their way
                    continue
                place = c_void_p()
                _check(library().comm_session_memory(self.session.handle, self.entry, outputs, index, byref(place)))
                if place.value:
                    buffer = (ctypes.c_uint8 * array.nbytes).from_address(place.value)
                    arrays[port.name] = np.frombuffer(buffer, port.dtype).reshape(port.shape)
                    arrays[port.name][...] = array
        self.session.placed = self

    def _tensors(self, ports: list[Port], arrays: dict[str, np.ndarray]):
        tensors = (_Tensor * max(1, len(ports)))()
        for tensor, port in zip(tensors, ports):
            _describe(tensor, port.name, port.number, arrays[port.name])
        return tensors

    def __call__(self) -> dict[str, np.ndarray]:
        if self.in_place and self.session.placed is not self:
            raise RuntimeError("another call of the session has used the memory of these inputs: bind them again")
        self.session.placed = self if self.in_place else None
        _check(library().comm_session_run(self.session.handle, self.entry, self._in, len(self.inputs), self._out, len(self.outputs)))
        return self.outputs


class Session:
    """Ranks that hold an executable's weights and run its entries. Use it in a `with`, or close it."""

    def __init__(self, executable: Executable, threads: int = 1, ranks_as: str = "processes", reference: bool = False, trust_native: bool = False,
                 timeout_s: float = 60, link: str | None = None, native: str = "auto", pin: str = "auto", packed_cache: str = "beside"):
        self.executable, self.handle, self.carries, self.placed = executable, c_void_p(), False, None
        options = _Options(ctypes.sizeof(_Options), {"processes": 0, "threads": 1}[ranks_as], reference, trust_native, 0, threads,
                           int(timeout_s * 1000), link.encode() if link else None, 0,
                           {"auto": 0, "require": 1, "never": 2}[native], {"auto": 0, "on": 1, "off": 2}[pin], os.fsencode(packed_cache))
        _check(library().comm_session_create(executable.handle, byref(options), byref(self.handle)))

    def bind(self, inputs: dict[str, np.ndarray], entry: int | None = None, in_place: bool = False) -> Bound:
        """Copies the inputs to where calls read them; the shapes choose the entry. `in_place`: to where the ranks read them."""
        return Bound(self, inputs, self.executable.entry_for(inputs) if entry is None else entry, in_place)

    def run(self, inputs: dict[str, np.ndarray], entry: int | None = None) -> dict[str, np.ndarray]:
        """One call; outputs by name."""
        return self.bind(inputs, entry)()

    def keep_state(self, mode: str = "exact") -> None:
        """From now on the session carries the states from call to call, beginning with zeros: state inputs may be left out.

        Where sizes differ along one dimension: "first" and "last" take the first or last positions that fit, zeros where there are none;
        "exact" refuses. "none": the caller carries them again.
        """
        _check(library().comm_session_keep_state(self.handle, ["none", "exact", "first", "last"].index(mode)))
        self.carries, self.placed = mode != "none", None

    def reset_state(self) -> None:
        """Begins anew with zeros."""
        _check(library().comm_session_reset_state(self.handle))

    def state(self, name: str) -> np.ndarray:
        """A copy of what is carried, by the name of the input."""
        tensor = _Tensor()
        _check(library().comm_session_get_state(self.handle, name.encode(), byref(tensor)))
        array = np.empty(tuple(tensor.dims[: tensor.rank]), DTYPES[tensor.dtype])
        tensor.data, tensor.bytes = array.ctypes.data, array.nbytes
        _check(library().comm_session_get_state(self.handle, name.encode(), byref(tensor)))
        return array

    def set_state(self, name: str, value: np.ndarray) -> None:
        """What the next call that leaves out this input reads. Raises ValueError when no entry has such an input."""
        port = next((port for ports in self.executable.inputs for port in ports if port.name == name), None)
        if port is None:
            raise ValueError(f"no entry has an input '{name}'")
        array, tensor = np.ascontiguousarray(value, port.dtype), _Tensor()
        _describe(tensor, name, port.number, array)
        _check(library().comm_session_set_state(self.handle, byref(tensor)))

    def stats(self) -> dict[str, float]:
        """Of the last call; the fields of comm_session_stats."""
        found = _Stats(ctypes.sizeof(_Stats))
        _check(library().comm_session_stats_get(self.handle, byref(found)))
        return {name: getattr(found, name) for name, _ in _Stats._fields_[1:]}

    def close(self) -> None:
        """Ends the ranks."""
        if self.handle:
            library().comm_session_free(self.handle)
            self.handle = c_void_p()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_) -> None:
        self.close()
