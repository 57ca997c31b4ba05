"""Damage files at random: bytes, words, and the numbers by which a format says how much follows."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

__all__ = ["mutated"]

_SIZES = (0, 1, 2, 127, 255, 256, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_LONG = (*_SIZES, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_NUMBERS = ("0", "-1", "1e308", "1e999", "NaN", "-Infinity", "2147483648", "9" * 30, "0x10", "1.5", "null")
_WORDS = (
    '"' + "x" * 100_000 + '"',
    "[]",
    "{}",
    "true",
    '""',
    "\\u0000",
    "\x00",
    "\ufeff",
    "=1+1",
    "&a",
    "*a",
)
_WORDS += ("..", "/etc/hostname", "!!python/object:os.system", "<<: *data", "-", "\U0001f52c", "\r\n", "'")
_TOKEN = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[A-Za-z_]+|\S")
_TEXTS = (".json", ".xml", ".geojson", ".yaml", ".csv")


def mutated(data: bytes, name: str, rng: random.Random) -> bytes:
    """The bytes of a file with some damage; the same for the same state of `rng`."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_bytes]
    if name.endswith(_TEXTS):
        ways += [_text] * 4
    elif name.endswith((".tif", ".svs")):
        ways += [_tiff] * 2
    elif name.endswith(".png"):
        ways.append(_png)
    elif name.endswith(".jpg"):
        ways.append(_jpeg)
    elif name.endswith((".npz", ".ckpt")):
        ways += [_zip] * 3
    elif name.endswith(".safetensors"):
        ways += [_safetensors] * 2
    elif name.endswith((".h5", ".mat", ".jp2", ".dcm")):
        ways.append(_word)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        try:
            data = rng.choice(ways)(data, rng)
        except Exception:  # what is damaged already may not be what this way expects
            data = _bytes(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Anywhere, and as often in the first or last thousand bytes, where tables stand."""
    size = len(data)
    near = min(size, 1024)
    return rng.choice((rng.randrange(size + 1), rng.randrange(near + 1), size - rng.randrange(near + 1)))


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """One change that knows nothing of the format."""
    start, count = _place(data, rng), rng.choice((1, 1, 2, 4, 16, 64, 1000))
    end = min(len(data), start + count)
    way = rng.randrange(8)
    if way == 0 and data:
        at = min(start, len(data) - 1)
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if way == 1:
        return data[:start]
    if way == 2:
        return data[:start] + data[end:]
    if way == 3:
        return data[:end] + data[start:]
    if way == 4:
        return data[:start] + rng.randbytes(count) + data[start:]
    if way == 5:
        other = rng.randrange(len(data) + 1)
        return data[:start] + data[other : other + end - start] + data[end:]
    if way == 6:
        return data[:start] + rng.choice((b"\0", b"\xff")) * (end - start) + data[end:]
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _word(data: bytes, rng: random.Random) -> bytes:
    """A number of 2, 4 or 8 bytes that may say how much follows."""
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    start = min(_place(data, rng), max(0, len(data) - size)) // 2 * 2
    value = rng.choice(_LONG) & ((1 << 8 * size) - 1)
    return data[:start] + struct.pack(kind, value) + data[start + size :]


def _text(data: bytes, rng: random.Random) -> bytes:
    """Another number or word, fewer or more of something, or what multiplies."""
    text = data.decode("utf-8", errors="replace")
    found = [match.span() for match in _TOKEN.finditer(text[:200_000])] or [(0, 0)]
    start, end = rng.choice(found)
    way = rng.randrange(8)
    if way == 0:
        new = rng.choice(_NUMBERS)
    elif way == 1:
        new = rng.choice(_WORDS)
    elif way == 2:
        new = ""
    elif way == 3:
        new = text[start:end] * rng.choice((2, 1000))
    elif way == 4:
        deep = rng.choice((2, 50, 5000))
        new = "[" * deep + text[start:end] + "]" * deep
    elif way == 5:
        other = rng.choice(found)
        new = text[slice(*other)]
    elif way == 6:
        names = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
        return (text + "\na0: &a0 [1, 2]\n" + "\n".join(names) + "\n").encode("utf-8", "surrogatepass")
    else:
        other = rng.choice(found)
        first, last = sorted((start, other[0]))
        return (text[:first] + text[first:last] * rng.choice((0, 2, 300)) + text[last:]).encode()
    return (text[:start] + new + text[end:]).encode("utf-8", "surrogatepass")


def _tiff(data: bytes, rng: random.Random) -> bytes:
    """Type, count or value of a tag of a directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return _bytes(data, rng)
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    head, entry = ("Q", 20) if big else ("H", 12)
    offsets, at = [], struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    try:
        while at and at < len(data) and len(offsets) < 8:
            offsets.append(at)
            count = struct.unpack_from(order + head, data, at)[0]
            end = at + struct.calcsize(head) + count * entry
            at = struct.unpack_from(order + ("Q" if big else "I"), data, end)[0]
        start = rng.choice(offsets)
        count = struct.unpack_from(order + head, data, start)[0]
        first = start + struct.calcsize(head) + rng.randrange(count) * entry
        kinds = (
            ("H", 0, range(1, 20)),
            ("Q" if big else "I", 4, _LONG),
            ("Q" if big else "I", entry // 2 + 2, _LONG),
        )
        kind, shift, values = rng.choice((kinds[0], kinds[1], kinds[2], kinds[2]))
        value = rng.choice(tuple(values)) & ((1 << 8 * struct.calcsize(kind)) - 1)
        place = first + (2 if shift == 0 else shift)
        return data[:place] + struct.pack(order + kind, value) + data[place + struct.calcsize(kind) :]
    except (struct.error, IndexError, ValueError):
        return _bytes(data, rng)


def _png(data: bytes, rng: random.Random) -> bytes:
    """Width, height, bits or colours, under a right checksum."""
    head = bytearray(data[12:29])
    if rng.random() < 0.6:
        struct.pack_into(
            ">I", head, rng.choice((4, 8)), rng.choice((1, 97, 5000, 30_000, 65_535, 1 << 20, (1 << 31) - 1))
        )
    else:
        head[rng.choice((12, 13, 14, 15, 16))] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return data[:12] + bytes(head) + struct.pack(">I", zlib.crc32(head)) + data[33:]


def _jpeg(data: bytes, rng: random.Random) -> bytes:
    """Height, width, bits or the number of components."""
    found = [match.start() for match in re.finditer(rb"\xff[\xc0\xc1\xc2\xda\xc4\xdb]", data)]
    if not found:
        return _bytes(data, rng)
    at = rng.choice(found) + rng.choice((2, 4, 5, 7, 9))
    return data[:at] + struct.pack(">H", rng.choice(_SIZES[:7])) + data[at + 2 :]


def _zip(data: bytes, rng: random.Random) -> bytes:
    """One member of an archive, which stays whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, zlib.error, OSError, RuntimeError, EOFError):
        return _bytes(data, rng)
    if not members:
        return _bytes(data, rng)
    name, out = rng.choice(sorted(members)), io.BytesIO()
    inner = members[name]
    if name.endswith(".npy") and rng.random() < 0.6:  # a shape that declares more, in a header of its size
        changed = re.sub(
            rb"\((\d[^)]*)\)", rng.choice((b"(999999999999,)", b"(99999999, 99)", b"(-1,)")), inner[10:128]
        )
        header = changed.rstrip(b" \n")[:117].ljust(117) + b"\n"
        members[name] = inner[:10] + header + inner[128:]
    else:
        members[name] = _bytes(inner, rng)
    with zipfile.ZipFile(out, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, content)
    return out.getvalue()


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    """Its table of tensors, the length told anew."""
    try:
        size = struct.unpack_from("<Q", data)[0]
        header = json.dumps(json.loads(data[8 : 8 + size])).encode()
    except (struct.error, ValueError):
        return _bytes(data, rng)
    changed = _text(header, rng)
    return struct.pack("<Q", len(changed)) + changed + data[8 + size :]
