"""nftables through libnftables, in this process.

libnftables opens its netlink socket when a context is made, so a context made inside a namespace goes on talking to that namespace.
"""

from __future__ import annotations

import ctypes

from harness.errors import EnvironmentUnfit, HarnessError


class Nftables:
    """libnftables in the namespace that is current when this is made."""

    def __init__(self) -> None:
        self._lib = load_library()
        self._context = ctypes.c_void_p(self._lib.nft_ctx_new(0))
        if not self._context:
            raise EnvironmentUnfit("libnftables gave no context: is nf_tables in this kernel?")
        self._lib.nft_ctx_buffer_output(self._context)
        self._lib.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Run nft ``commands`` as one transaction and return their output; HarnessError carries nft's own words when it refuses."""
        code = self._lib.nft_run_cmd_from_buffer(self._context, commands.encode())
        output = self._lib.nft_ctx_get_output_buffer(self._context).decode(errors="replace")
        explanation = self._lib.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if code != 0:
            raise HarnessError(f"nft refused {commands.strip().splitlines()[0]!r} …: {explanation.strip()}")
        return str(output)

    def close(self) -> None:
        """Free the context and its socket; safe to call twice."""
        if self._context:
            self._lib.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)


def load_library() -> ctypes.CDLL:
    """The libnftables of this machine; EnvironmentUnfit says how to get it."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise EnvironmentUnfit(
            "libnftables.so.1 is not installed: apt-get install nftables (or your system's package of that name)"
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    return library
