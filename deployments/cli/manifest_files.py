"""Read manifests from files, folders and stdin, and say in which file a fault is."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import Fault, InvalidInputError
from blocks.yaml_dialect import write_yaml
from deployments.cli.output import say
from deployments.cli.words import plural
from tasks.decide.documents import read_documents

STDIN = "-"
SUFFIXES = {".yaml", ".yml", ".json"}
BYTES_MAX = 4 * 1024 * 1024

_DOCUMENT = re.compile(r"document (\d+)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file of manifests."""

    name: str
    text: str
    documents: tuple[object, ...]


def gather(names: Sequence[str], *, recursive: bool) -> list[Manifest]:
    """Read all files; folders give their `.yaml`, `.yml` and `.json` files in order.

    Raises:
        InvalidInputError: something cannot be read or is not YAML; each is named.
    """
    faults: list[Fault] = []
    manifests = []
    for name in names:
        for path in _files(name, faults, recursive=recursive):
            try:
                manifest = _read(path)
                if manifest.documents:
                    manifests.append(manifest)
                elif path == name:
                    faults.append(Fault(path, "there is no document in it"))
                else:
                    say(f"note: there is no document in {path}")
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "this is not UTF-8 text"
                faults.append(Fault(str(path), reason))
            except InvalidInputError as error:
                faults.append(Fault(str(path), error.message))
    if faults:
        raise refused(faults)
    return manifests


def _files(name: str, faults: list[Fault], *, recursive: bool) -> list[str]:
    path = Path(name)
    if name == STDIN or not path.is_dir():
        return [name]
    found = path.rglob("*") if recursive else path.glob("*")
    wanted = [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]
    hidden = [file for file in wanted if any(part.startswith(".") for part in file.relative_to(path).parts)]
    if hidden:
        say(f"note: {plural(len(hidden), 'hidden file')} in {name} left out: name what you mean")
    files = sorted(str(file) for file in wanted if file not in hidden)
    if not files:
        faults.append(
            Fault(name, f"there is no {', '.join(sorted(SUFFIXES))} file in it" + ("" if recursive else " (see -r)"))
        )
    return files


def _read(name: str) -> Manifest:
    if name == STDIN:
        raw = sys.stdin.buffer.read(BYTES_MAX + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        message = f"it is larger than {BYTES_MAX} bytes"
        raise InvalidInputError(message)
    text = raw.decode("utf-8-sig")
    documents = tuple(read_documents(text))
    return Manifest("stdin" if name == STDIN else name, text, documents)


def joined(manifests: Sequence[Manifest]) -> str:
    """All of them as one text: a single one as it was written."""
    if len(manifests) == 1:
        return manifests[0].text
    return dumped([document for manifest in manifests for document in manifest.documents])


def dumped(documents: Sequence[object]) -> str:
    """Documents as one text."""
    return write_yaml(documents)


def located(fault: Fault, manifests: Sequence[Manifest]) -> Fault:
    """The fault with the file it is in: documents are counted over all files before they are known."""
    match = _DOCUMENT.match(fault.where)
    if match is None:
        return fault
    number = int(match[1])
    for manifest in manifests:
        if number <= len(manifest.documents):
            return Fault(f"{manifest.name}: document {number}{fault.where[match.end() :]}", fault.reason)
        number -= len(manifest.documents)
    return fault


def refused(faults: Sequence[Fault]) -> InvalidInputError:
    """The error that lists all faults."""
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return InvalidInputError(f"{count} in the manifests; nothing was applied", tuple(faults))
