"""Errors, split by whose fault it is.  A missed bound is none of these: it is a verdict.

``blame`` is the word that a report shows beside a result that is no PASS: product | environment | agent | harness | author.
"""

from __future__ import annotations

import errno
from typing import ClassVar

_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS}


class BlamedError(Exception):
    """Base of every error that the harness raises on purpose; its text names the thing, the value and what is allowed."""

    blame: ClassVar[str] = "harness"


class SpecError(BlamedError):
    """The author of a topology or scenario, or the command line, asked for something that makes no sense: the run's result is ERROR.

    ``where`` names the place ("link alice/wifi – home/lan, up.delay"), ``what`` says what is wrong and what is allowed.
    """

    blame = "author"

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what
        super().__init__(f"{where}: {what}")


class EnvironmentUnfit(BlamedError):  # noqa: N818 - the house's word for it, and it reads as a sentence
    """The machine cannot do what was asked (no privilege, kernel feature or program); the text names it and what would fix it."""

    blame = "environment"


class AgentError(BlamedError):
    """An agent broke its contract: garbage on its pipe, a hang, a death, another protocol version."""

    blame = "agent"

    def __init__(self, agent: str, what: str) -> None:
        self.agent = agent
        self.what = what
        super().__init__(f"agent {agent}: {what}")


class AgentCrashed(AgentError):  # noqa: N818 - reads as a sentence
    """An agent ended after its hello although nobody asked it to: a signal, an exit, an exception.  The run's result is FAIL."""

    blame = "product"


class CapabilityLacking(AgentError):  # noqa: N818 - reads as a sentence
    """An agent did not say in its hello that it can do what the scenario needs (``lacking``): the run's result is NOT RUN."""

    def __init__(self, agent: str, what: str, lacking: tuple[str, ...] = ()) -> None:
        self.lacking = lacking
        super().__init__(agent, what)


class HarnessError(BlamedError):
    """The harness itself broke: a bug here, or a receipt that never came."""

    blame = "harness"


def exhausted(error: BaseException) -> bool:
    """Whether it says that this machine has no more of something (room on a disk, descriptors, memory)."""
    return isinstance(error, OSError) and error.errno in _EXHAUSTED
