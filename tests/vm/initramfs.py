"""What the kernel starts: busybox, the modules, and a script that mounts this computer's files and hands over to the job.

The job is a 9p share of its own at /run/job: ``mounts`` (a path per line, writable, share ``w0``, ``w1``…) and ``command`` (a script)
come from the host, ``code`` (the command's exit code) goes back.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable

PORT = "/dev/vport0p1"
"""Where the guest's output leaves: bytes as they are, and no terminal."""

STARTED = b"the machine is up\n"
"""The first thing that comes out there, and never shown."""

MODULES = (
    *("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "crc32c_generic"),
    *("veth", "tun", "af_packet", "sch_netem", "sch_tbf"),
    *("nf_conntrack", "nf_conntrack_netlink", "nfnetlink_cttimeout", "nf_tables", "nft_chain_nat", "nft_masq", "nft_nat", "nft_redir"),
    *("nft_ct", "nft_objref", "nft_limit", "nft_reject_inet", "nft_fib_inet", "nft_hash", "nft_numgen"),
)

_MOUNT = "trans=virtio,version=9p2000.L,msize=512000,cache=loose"

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
{modules}
/bin/busybox mount -t 9p -o ro,{mount} root /host || {{ echo "this computer's files cannot be mounted"; /bin/busybox reboot -f; }}
for one in proc sys dev; do /bin/busybox mount --move /$one /host/$one; done
for one in run tmp var/tmp; do /bin/busybox mount -t tmpfs tmp /host/$one; done
/bin/busybox chmod 1777 /host/tmp /host/var/tmp
/bin/busybox mkdir -p /host/dev/net /host/dev/shm /host/dev/pts /host/run/job /host/run/netns
[ -e /host/dev/net/tun ] || /bin/busybox mknod /host/dev/net/tun c 10 200
/bin/busybox mount -t tmpfs tmp /host/dev/shm
/bin/busybox mount -t devpts pts /host/dev/pts
/bin/busybox mount -t 9p -o {mount} job /host/run/job
number=0
while IFS= read -r path; do
  /bin/busybox mkdir -p "/host$path"
  /bin/busybox mount -t 9p -o {mount} w$number "/host$path" || {{ echo "$path cannot be mounted"; /bin/busybox reboot -f; }}
  number=$((number + 1))
done </host/run/job/mounts
/bin/busybox ip link set lo up
exec /bin/busybox switch_root /host /bin/sh /run/job/start
"""

START = f"""exec >{PORT} 2>&1
printf '{STARTED.decode().strip()}\\n'
/bin/sh /run/job/command </dev/null
echo $? >/run/job/code
sync
echo b >/proc/sysrq-trigger
"""
"""The job's share holds this too: process 1 after the hand-over.  ``sync``, for the shares are written behind; b: reboot, so qemu ends."""


def build(busybox: bytes, modules: dict[str, bytes]) -> bytes:
    """The archive, uncompressed: modules are loaded in the order in which they are given."""
    load = "\n".join(f"/bin/busybox insmod /modules/{name}.ko" for name in modules)
    folders = ("bin", "modules", "proc", "sys", "dev", "host")
    entries = [
        *((folder, stat.S_IFDIR | 0o755, b"") for folder in folders),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox),
        *((f"modules/{name}.ko", stat.S_IFREG | 0o644, content) for name, content in modules.items()),
        ("init", stat.S_IFREG | 0o755, _INIT.format(modules=load, mount=_MOUNT).encode()),
    ]
    return cpio(entries)


def cpio(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """(name, mode, content) as a "newc" archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device (major, minor), of a device (major, minor), length of name, checksum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)
