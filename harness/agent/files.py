"""The files that an agent leaves in its folder: ``<name>.media.jsonl``, ``keys.log``, ``qlog/<name>-<connection>.sqlog``.

Of real media also ``<name>.heard.rtpdump``.

Records and qlogs are written in parts (``harness.rotation``).  Buffered, and handed to the kernel at least once a second and at the end, so
that a kill costs a second and not the run.  ``keys.log`` is opened for appending and each secret is one write: agents may share a folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TextIO

from harness.media.records import RecordWriter
from harness.media.rtpdump import RtpDump
from harness.rotation import RotatedFile

_BUFFER = 1 << 18


class QlogFile:
    """One connection's qlog (JSON text sequences, RFC 7464), streamed; each of its parts begins with the first record, its header."""

    def __init__(self, path: Path, files: AgentFiles) -> None:
        self._file = RotatedFile(path)
        self._files = files

    def write(self, records: bytes, /) -> None:
        """Take whole records."""
        self._file.head = self._file.head or records
        self._file.write(records)

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """No more records will come."""
        self._files.forget(self)
        self._file.close()


class AgentFiles:
    """Opens them (OSError when the folder cannot be made or written), flushes them, closes them."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder = Path(folder)
        self._name = name
        self._qlogs: set[QlogFile] = set()
        (self._folder / "qlog").mkdir(parents=True, exist_ok=True)
        self._media = RotatedFile(self._folder / f"{name}.media.jsonl", buffering=0)  # whoever is killed has heard what it had heard
        self.records = RecordWriter(self._media)
        keys = os.open(self._folder / "keys.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._heard: BinaryIO | None = None
        self.keys: TextIO = os.fdopen(keys, "w", buffering=1, encoding="ascii")

    def heard(self) -> RtpDump:
        """Where the packets that come in are kept whole."""
        self._heard = (self._folder / f"{self._name}.heard.rtpdump").open("wb", buffering=_BUFFER)
        return RtpDump(self._heard)

    def qlog(self, connection: str) -> QlogFile:
        """Where the qlog of ``connection`` goes; a second file of one name gets a number."""
        path = self._folder / "qlog" / f"{self._name}-{connection}.sqlog"
        number = 1
        while path.exists():
            number += 1
            path = path.with_name(f"{self._name}-{connection}-{number}.sqlog")
        file = QlogFile(path, self)
        self._qlogs.add(file)
        return file

    def forget(self, qlog: QlogFile) -> None:
        """It is closed."""
        self._qlogs.discard(qlog)

    def flush(self) -> None:
        """Hand all that is buffered to the kernel: not the records, of which each goes there by itself."""
        if self._heard is not None:
            self._heard.flush()
        for qlog in self._qlogs:
            qlog.flush()

    def close(self) -> None:
        """Flush and close all."""
        for qlog in list(self._qlogs):
            qlog.close()
        self._media.close()
        if self._heard is not None:
            self._heard.close()
        self.keys.close()
