"""What of this machine's files an agent sees: everything that a program may need, for reading; and what of it is hidden.

Hidden is what is a secret by its nature (keys, tokens, password hashes, browsers' and shells' memory), where the sockets of services and of
other people's terminals are (/run, /tmp), what debugs the kernel, and what the other agents of the run leave.  All else can be read: a
program, its interpreter and its libraries may be anywhere, in a home folder as well.  What the command itself names is shown where it is.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

TEMPORARY = ("/tmp", "/var/tmp")
SYSTEM = (
    "/run",
    "/var/run",
    "/boot",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/kernel/security",
    "/sys/fs/bpf",
    "/sys/firmware/efi/efivars",
    "/etc/shadow*",
    "/etc/gshadow*",
    "/etc/sudoers*",
    "/etc/ssh/ssh_host_*_key",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/kubernetes",
    "/etc/NetworkManager/system-connections",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/lxd",
    "/var/lib/incus",
    "/var/lib/NetworkManager",
    "/var/lib/systemd/random-seed",
    "/var/snap/lxd",
    "/var/spool",
    "/var/log",
    "/var/backups",
)
HOME = (
    ".*_history",
    ".aws",
    ".azure",
    ".bitcoin",
    ".boto",
    ".cargo/credentials*",
    ".colima",
    ".config/chromium",
    ".config/doctl",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/google-chrome",
    ".config/hub",
    ".config/op",
    ".config/rclone",
    ".docker",
    ".gem/credentials",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".lima",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".pki",
    ".pypirc",
    ".ssh",
    ".terraform.d",
    ".thunderbird",
    ".vault-token",
)
CHECKOUT = (".git/config", ".env")
"""In the folder in which the command is started: CI services leave tokens there."""
_PATHS = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "NODE_PATH", "GOROOT", "JAVA_HOME")
"""Variables that say where a program's parts are."""
_SECRET_VARIABLE = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH|^(SSH|GPG|AWS|AZURE|GOOGLE|DOCKER|KUBE|DBUS|ACTIONS)_"
    r"|^(XDG_RUNTIME_DIR|KUBECONFIG|NETRC|TMUX|TMUX_PANE|STY|TMPDIR)$"
)


@dataclass(frozen=True)
class View:
    """``hidden``: files and folders that are empty for the agent.  ``shown``: what is below them and yet seen.  ``own``: its folder.

    All absolute and without symlinks.
    """

    hidden: tuple[str, ...]
    shown: tuple[str, ...]
    own: str


def view_for(
    argv: Sequence[str], env: dict[str, str], cwd: str, own: str, *, hidden: Iterable[str] = (), shown: Iterable[str] = ()
) -> View:
    """The view for an agent that is started by ``argv``; ``hidden`` and ``shown``: what the run wants so besides."""
    closed = sorted({os.path.realpath(path) for path in (*_secrets(env, cwd), *TEMPORARY, *hidden)} - {"/"})
    named = {path for one in _named(argv, env, cwd) for path in (one, _whole(os.path.abspath(one))) if path}
    seen = sorted(({os.path.realpath(path) for path in shown} | {_whole(os.path.realpath(path)) for path in named}) - {"", *closed})
    below = [path for path in seen if any(is_below(path, one) for one in closed)]
    return View(tuple(closed), tuple(below), os.path.realpath(own))


def _secrets(env: dict[str, str], cwd: str) -> Iterator[str]:
    """Those of them that exist."""
    homes = {env.get("HOME", ""), pwd.getpwuid(os.getuid()).pw_dir} - {"", "/"}
    for pattern in SYSTEM:
        yield from glob.iglob(pattern) if "*" in pattern else (pattern,)
    for folder, names in (*((home, HOME) for home in homes), (cwd, CHECKOUT)):
        for name in names:
            path = os.path.join(folder, name)
            yield from glob.iglob(path) if "*" in name else ((path,) if os.path.exists(path) else ())


def _named(argv: Sequence[str], env: dict[str, str], cwd: str) -> Iterator[str]:
    """Paths that the command names: in its words, and in the variables that say where programs are."""
    yield cwd
    yield from (os.path.join(cwd, word) for word in argv if "/" in word)
    for name in _PATHS:
        yield from (path for path in env.get(name, "").split(os.pathsep) if path.startswith("/"))


def _whole(path: str) -> str:
    """What is shown for the sake of ``path``: in a temporary folder all that begins as it does, elsewhere itself; "" if it is not there."""
    if not os.path.exists(path):
        return ""
    for folder in TEMPORARY:
        if is_below(path, folder):
            return os.path.join(folder, os.path.relpath(path, folder).split(os.sep)[0])
    return path


def sockets() -> Iterator[str]:
    """Where unix sockets of this network namespace are bound: reading only does not keep a program from connecting to one."""
    with contextlib.suppress(OSError), open("/proc/net/unix") as table:
        for line in table:
            path = line.rstrip("\n").partition(" /")[2]
            if path and _is_socket("/" + path):
                yield "/" + path


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` without those that are secrets, or lead to sockets of this machine's services, by their name."""
    return {name: value for name, value in variables.items() if not _SECRET_VARIABLE.search(name.upper())}


def is_below(path: str, folder: str) -> bool:
    """Whether ``path`` lies in ``folder``, at any depth, and is not it."""
    return path.startswith(folder.rstrip("/") + "/")
