"""Generates a client from the OpenAPI document, and checks the code: `generate.py LANGUAGE DOCUMENT FOLDER`.

Ends with 1 on the first warning, of a generator or of a checker: what a generator passes over, its users miss.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENTS = HERE.parent
PROGRAMS = CLIENTS / ".venv" / "bin"
PACKAGES = CLIENTS / "node_modules"
# What the generators and checkers print where something is not as it should be.
WARNING = re.compile(r"\bWARN(ING)?\b|\bERROR\b|^warning\b|^error\b|Exception", re.IGNORECASE | re.MULTILINE)
# Seconds for one program, on a busy machine.
TIMEOUT_S = 600


def run(*command: object, folder: Path) -> str:
    """Runs a program; its output. Ends where it fails or warns."""
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    # The names of files that are written may be anything: `models/error_body.py`.
    said = "\n".join(line for line in done.stdout.splitlines() if "writing file" not in line)
    if done.returncode != 0 or WARNING.search(said.replace("0 errors", "")):
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{said}")
    return said


def python(document: Path, folder: Path) -> Path:
    code = folder / "python"
    generate = [PROGRAMS / "openapi-python-client", "generate", "--fail-on-warning"]
    run(*generate, "--path", document, "--output-path", code, folder=folder)
    # What is written with the client is checked with it.
    (code / "use.py").write_text((HERE / "use.py").read_text())
    run(PROGRAMS / "mypy", "--strict", "--no-error-summary", "holdfast_client", "use.py", folder=code)
    return code


def typescript(document: Path, folder: Path) -> Path:
    code = folder / "typescript"
    code.mkdir()
    run(PACKAGES / ".bin" / "openapi-typescript", document, "-o", code / "schema.d.ts", folder=code)
    for name in ("use.ts", "tsconfig.json"):
        (code / name).write_text((HERE / name).read_text())
    (code / "package.json").write_text('{"type": "module"}')
    (code / "node_modules").symlink_to(PACKAGES)
    run(PACKAGES / ".bin" / "tsc", "--project", ".", folder=code)
    return code


def without_examples_of_bodies(document: Path, folder: Path) -> Path:
    """A copy for Java's generator, which warns of examples of bodies that are more than a text; the code is the same."""
    described = json.loads(document.read_text())
    for operation in (one for item in described["paths"].values() for one in item.values() if isinstance(one, dict)):
        for media_type in operation.get("requestBody", {}).get("content", {}).values():
            media_type.pop("example", None)
            media_type.pop("examples", None)
    copy = folder / "openapi.json"
    copy.write_text(json.dumps(described))
    return copy


def java_or_go(language: str, document: Path, folder: Path) -> Path:
    code = folder / language
    if language == "java":
        document = without_examples_of_bodies(document, folder)
    run(PROGRAMS / "openapi-generator-cli", "generate", "-g", language, "-i", document, "-o", code, folder=folder)
    return code


def main(language: str, document: Path, folder: Path) -> None:
    by_own_generator = {"python": python, "typescript": typescript}
    if generate := by_own_generator.get(language):
        code = generate(document, folder)
    else:
        code = java_or_go(language, document, folder)
    suffixes = {"python": ".py", "typescript": ".ts", "java": ".java", "go": ".go"}
    files = [path for path in code.rglob(f"*{suffixes[language]}") if "node_modules" not in path.parts]
    lines = sum(len(path.read_text().splitlines()) for path in files)
    print(json.dumps({"language": language, "warnings": 0, "files": len(files), "lines": lines, "code": str(code)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve())
