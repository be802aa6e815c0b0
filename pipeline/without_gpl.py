#!/usr/bin/env python3
"""Take the GPL encoders out of an installed PyAV: `without_gpl.py SITE_PACKAGES`. A step of the image's build.

PyAV's wheel carries FFmpeg built as LGPL, and beside it libx264 and libx265, which are GPL and which libavcodec names
as libraries that it needs. Decoding needs neither. So libavcodec is told not to need them (their entries leave its
dynamic section), and their functions become weak, which lets it load without them; the two libraries are deleted. An
encoder of theirs would crash, and nothing here encodes with one. What is changed of an LGPL library is this script.

One function is called as soon as the list of codecs is read: x265_api_get(bit depth), whose answer NULL means "not
built for that". The reference is made one to av_get_media_type_string, which answers NULL to such numbers.

ELF: System V ABI, chapters 4 and 5; 64 bits, little endian.
"""

import struct
import sys
from pathlib import Path

GPL = ("libx264", "libx265")
PREFIXES = (b"x264_", b"x265_")
DT_NULL, DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_VERNEED = 0, 1, 5, 6, 0x6FFFFFFE
PT_LOAD, PT_DYNAMIC = 1, 2
STB_GLOBAL, STB_WEAK = 1, 2
ASKED_AT_ONCE, ANSWERS_NULL = b"x265_api_get_", b"av_get_media_type_string"
SYMBOL_BYTES = 24


def main() -> None:
    """Raises SystemExit with a reason where the wheel is not as expected: an image with GPL parts must not be built."""
    libraries = Path(sys.argv[1]) / "av.libs"
    gpl = [each for each in libraries.iterdir() if each.name.startswith(GPL)]
    changed = [each for each in libraries.glob("*.so*") if each not in gpl and forget(each)]
    for each in gpl:
        each.unlink()
    left = [each.name for each in libraries.iterdir() if any(name.encode() + b"-" in each.read_bytes() for name in GPL)]
    if left:
        raise SystemExit(f"still named by {', '.join(left)}")
    print(f"deleted {', '.join(each.name for each in gpl)}; changed {', '.join(each.name for each in changed)}")


def forget(library: Path) -> bool:
    """Take the GPL libraries out of what a library needs; whether it did need them."""
    content = bytearray(library.read_bytes())
    if content[:6] != b"\x7fELF\x02\x01":
        return False
    offset, size, count = *struct.unpack_from("<Q", content, 0x20), *struct.unpack_from("<HH", content, 0x36)
    headers = [struct.unpack_from("<IIQQQQQQ", content, offset + number * size) for number in range(count)]

    def at(address: int) -> int:
        """Where in the file an address of the loaded library is."""
        for kind, _, start, virtual, _, length, _, _ in headers:
            if kind == PT_LOAD and virtual <= address < virtual + length:
                return int(start + address - virtual)
        raise SystemExit(f"{library.name}: address {address:#x} is in no segment")

    _, _, dynamic, _, _, length, _, _ = next(each for each in headers if each[0] == PT_DYNAMIC)
    entries = [struct.unpack_from("<QQ", content, dynamic + each) for each in range(0, length, 16)]
    found = dict(entries)
    strings, symbols = at(found[DT_STRTAB]), at(found[DT_SYMTAB])

    def text(index: int) -> bytes:
        return bytes(content[strings + index : content.index(b"\0", strings + index)])

    names = tuple(name.encode() for name in GPL)
    gone = [(tag, value) for tag, value in entries if tag == DT_NEEDED and text(value).startswith(names)]
    if not gone:
        return False
    kept = [each for each in entries if each not in gone] + [(DT_NULL, 0)] * len(gone)
    for number, (tag, value) in enumerate(kept):
        struct.pack_into("<QQ", content, dynamic + 16 * number, tag, value)
    for _, value in gone:
        name = text(value)
        content[strings + value : strings + value + len(name)] = b"\0" * len(name)
    undefined = {}
    # The dynamic symbol table is followed by the string table, or lies behind it and ends somewhere: what is no symbol
    # has no such name.
    end = strings if strings > symbols else len(content) - SYMBOL_BYTES
    for place in range(symbols, end, SYMBOL_BYTES):
        name_index, info, _, section = struct.unpack_from("<IBBH", content, place)
        if section == 0 and info >> 4 == STB_GLOBAL and strings + name_index < len(content):
            undefined[text(name_index)] = place
    if ANSWERS_NULL not in undefined:
        raise SystemExit(f"{library.name} does not use {ANSWERS_NULL.decode()} any more: find another such function")
    for name, place in undefined.items():
        if name.startswith(PREFIXES):
            content[place + 4] = STB_WEAK << 4 | content[place + 4] & 0xF
        if name.startswith(ASKED_AT_ONCE):
            content[place : place + 4] = content[undefined[ANSWERS_NULL] : undefined[ANSWERS_NULL] + 4]
    library.write_bytes(content)
    return True


if __name__ == "__main__":
    main()
