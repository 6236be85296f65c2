"""What the virtual machine is made of; that it boots is shown by `make test-vm`."""

from __future__ import annotations

import lzma

from tests.vm import initramfs, kernel


def module(*needs: str) -> bytes:
    return b"\x7fELF...license=GPL\0depends=" + ",".join(needs).encode() + b"\0retpoline=Y\0"


def test_modules_stand_behind_what_they_need() -> None:
    packed = {
        "lib/modules/6.1/kernel/net/sch_netem.ko": module(),
        "lib/modules/6.1/kernel/net/nft-nat.ko.xz": lzma.compress(module("nf_tables", "nf-nat")),
        "lib/modules/6.1/kernel/net/nf_nat.ko": module("nf_conntrack"),
        "lib/modules/6.1/kernel/net/nf_tables.ko": module(),
        "lib/modules/6.1/kernel/net/nf_conntrack.ko": module(),
        "lib/modules/6.1/kernel/net/unasked.ko": module(),
    }
    order = kernel.Modules(packed).in_order(["nft_nat", "sch-netem", "nf_nat", "built_in"])
    assert list(order) == ["nf_tables", "nf_conntrack", "nf_nat", "nft_nat", "sch_netem"]
    assert order["nft_nat"] == module("nf_tables", "nf-nat"), "unpacked"


def test_the_kernel_is_found_behind_a_false_beginning() -> None:
    elf = b"\x7fELF" + bytes(1000)
    assert kernel.uncompressed(b"setup" + kernel.XZ + b"no stream" + lzma.compress(b"other") + lzma.compress(elf) + b"tail") == elf


def test_a_kernel_in_zstd_is_found_too() -> None:
    elf = b"\x7fELFabcd"
    frame = kernel.ZSTD + b"\x20\x08" + b"\x41\0\0" + elf  # RFC 8878: a frame of 8 bytes; its only block, as it is
    assert kernel.uncompressed(b"setup" + kernel.ZSTD + b"no frame" + frame + b"tail") == elf


def test_an_image_in_another_compression_boots_as_it_is() -> None:
    assert kernel.uncompressed(b"setup, then zstd") == b"setup, then zstd"


def unpacked(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name to (mode, content), by the format's description alone."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        content = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[content : content + size])
        at = (content + size + 3) // 4 * 4


def test_the_archive_holds_all_and_loads_in_order() -> None:
    held = unpacked(initramfs.build(b"busybox", {"one": b"1", "two": b"22"}))
    assert held["modules/two.ko"] == (0o100644, b"22")
    assert held["bin/busybox"] == (0o100755, b"busybox")
    assert held["proc"] == (0o040755, b"")
    mode, init = held["init"]
    assert mode == 0o100755
    assert init.index(b"insmod /modules/one.ko") < init.index(b"insmod /modules/two.ko")
