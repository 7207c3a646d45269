"""MessagePack as the functions read and write it: numbers, texts, booleans and arrays. Texts may hold any bytes."""

import struct


def pack(*values: object) -> bytes:
    """The values one after the other."""
    return b"".join(map(_packed, values))


def _packed(value: object) -> bytes:
    if value is False:
        return b"\xc2"
    if value is True:
        return b"\xc3"
    if isinstance(value, int):
        return _packed_int(value)
    if isinstance(value, (str, bytes)):
        text = value.encode() if isinstance(value, str) else value
        return _head(len(text), 32, 0xA0, (0xD9, 0xDA, 0xDB)) + text
    if isinstance(value, (list, tuple)):
        return _head(len(value), 16, 0x90, (None, 0xDC, 0xDD)) + pack(*value)
    raise TypeError(f"{type(value).__name__} is never sent")


def _packed_int(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b" if value < 0 else "B", value)
    if value < 0:
        return struct.pack(">Bq", 0xD3, value)
    for code, form, bits in ((0xCC, ">BB", 8), (0xCD, ">BH", 16), (0xCE, ">BI", 32)):
        if value < 1 << bits:
            return struct.pack(form, code, value)
    return struct.pack(">BQ", 0xCF, value)


def _head(length: int, short: int, base: int, codes: tuple[int | None, int, int]) -> bytes:
    if length < short:
        return bytes([base + length])
    if codes[0] and length < 1 << 8:
        return struct.pack(">BB", codes[0], length)
    return struct.pack(">BH", codes[1], length) if length < 1 << 16 else struct.pack(">BI", codes[2], length)


def unpack(data: bytes) -> list:
    """Every value of a sequence. Texts become bytes."""
    values, at = [], 0
    while at < len(data):
        value, at = _unpacked(data, at)
        values.append(value)
    return values


NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I"}


def _unpacked(data: bytes, at: int) -> tuple[object, int]:
    code, at = data[at], at + 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 0x100, at
    if code in (0xC0, 0xC2, 0xC3):
        return code == 0xC3, at
    if code in NUMBERS:
        form = NUMBERS[code]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if code in LENGTHS:
        (length,) = struct.unpack_from(LENGTHS[code], data, at)
        at += struct.calcsize(LENGTHS[code])
        is_array = code >= 0xDC
    elif 0x90 <= code < 0xC0:
        is_array = code < 0xA0
        length = code & (0x0F if is_array else 0x1F)
    else:
        raise ValueError(f"byte {code:#x} is never answered")
    if not is_array:
        return data[at : at + length], at + length
    values = []
    for _ in range(length):
        value, at = _unpacked(data, at)
        values.append(value)
    return values, at
