"""A throwaway virtual machine with Debian's kernel, for what this machine's kernel lacks (sch_netem) or a container forbids.

``python -m tests.vm COMMAND…`` boots it under qemu and runs the command in it, as root, on this machine's files: the root file system read
only, the checkout (and what ``--write`` names) writable.  There is no network inside.  Nothing is installed but qemu, nothing is left
behind but the cache of kernels (``$XDG_CACHE_HOME/quic-call-harness/vm``, 150 MB), which may be deleted at any time.

``packages`` gets what is needed, ``kernel`` takes Debian's package apart, ``initramfs`` makes what the kernel starts, ``machine`` runs
qemu.
"""
