"""The library of functions, put together from `lua/` by the lists of parts in `src/store/library.rs`. A test compares it with what the service loads."""

import hashlib
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION_DIGITS = 8


@dataclass(frozen=True)
class Part:
    name: str
    text: str

    def header(self, key: str) -> list[str]:
        """The values of a line of the header: `-- gives  a, b`."""
        lines = re.findall(rf"^-- {key}  (.*)$", self.text, re.MULTILINE)
        return [value.strip() for line in lines for value in line.split(",") if value.strip()]

    @property
    def function(self) -> str | None:
        return next(iter(self.header("function")), None)


@cache
def groups() -> dict[str, list[Part]]:
    source = (ROOT / "src/store/library.rs").read_text()
    lists = {name: re.findall(r'"([^"]+)"', parts) for name, parts in re.findall(r"^const (\w+): &\[Part\] = parts! \{(.*?)\};", source, re.MULTILINE | re.DOTALL)}
    named = re.findall(r'^    Group \{ name: "(\w+)", common: &\[([A-Z, ]+)\], own: &\[([A-Z, ]+)\] \},$', source, re.MULTILINE)
    return {
        group: [Part(part, (ROOT / f"lua/{part}.lua").read_text()) for name in f"{common}, {own}".split(", ") for part in lists[name]]
        for group, common, own in named
    }


def _block(part: Part) -> str:
    if part.function:
        return f"do -- {part.name}\nlocal {part.function}\n{part.text}functions.{part.function} = {part.function}\nend\n"
    return f"do -- {part.name}\n{part.text}end\n"


def _maker(group: str, parts: list[Part]) -> str:
    names = ", ".join(name for part in parts for name in part.header("gives"))
    blocks = "".join(map(_block, parts))
    return f"local function make_{group}()\nlocal functions = {{}}\nlocal {names}\n{blocks}return functions\nend\nlocal {group}\n"


def _registrations(version: str) -> str:
    rights = (ROOT / "src/store/rights.lua").read_text()
    text = f"{rights}redis.register_function{{ function_name = 'hf_{version}_probe', flags = {{ 'no-writes', 'allow-oom' }}, callback = function(_, args)\n  return rights(args)\nend }}\n"
    for group, parts in groups().items():
        for part in parts:
            if part.function:
                flags = "".join(f"'{flag}', " for flag in part.header("flags"))
                text += f"redis.register_function{{ function_name = 'hf_{version}_{part.function}', flags = {{ {flags}}}, callback = function(keys, args)\n"
                text += f"  {group} = {group} or make_{group}()\n  return {group}.{part.function}(keys, args)\nend }}\n"
    return text


def library() -> tuple[str, str]:
    """Version and text."""
    bodies = "".join(_maker(group, parts) for group, parts in groups().items())
    version = hashlib.sha1((bodies + _registrations("")).encode()).hexdigest()[:VERSION_DIGITS]
    return version, f"#!lua name=holdfast_{version}\n{bodies}{_registrations(version)}"


def lines_by_folder() -> dict[str, int]:
    """Lines of the parts, each counted once, by the folder of `lua/` in which it stands."""
    parts = {part.name: part for parts in groups().values() for part in parts}
    counted: dict[str, int] = {}
    for part in parts.values():
        folder = part.name.split("/")[0]
        counted[folder] = counted.get(folder, 0) + len(part.text.splitlines())
    return counted


if __name__ == "__main__":
    sys.stdout.write(library()[1])
