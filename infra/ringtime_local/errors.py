"""What can go wrong in starting servers.

LaunchError
├── MissingPrerequisite   something has to be installed first; the message is one line that says what
├── StartFailed           the program ended or did not answer in time; the message ends with its log
├── Aborted               another server failed, or the person pressed Ctrl-C, while this one was starting
└── NotOurs               asked to signal a server that was named by the environment
"""

from __future__ import annotations


class LaunchError(Exception):
    """Root of everything this package raises."""


class MissingPrerequisite(LaunchError):
    """A program has to be installed first."""


class StartFailed(LaunchError):
    """A program ended, or did not answer in time."""


class Aborted(LaunchError):
    """The start was given up because of something else."""


class NotOurs(LaunchError):
    """A server that we did not start must not be signalled."""


class NotReady(Exception):
    """A probe got no proper answer yet: not a failure, but a reason to ask again."""
