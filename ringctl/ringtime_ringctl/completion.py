"""`ringctl completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from ringtime_ringctl.shell import RingctlCommand

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=RingctlCommand)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      eval "$(ringctl completion bash)"                        in ~/.bashrc
      eval "$(ringctl completion zsh)"                         in ~/.zshrc
      ringctl completion fish > ~/.config/fish/completions/ringctl.fish
    """
    script = SHELLS[shell]
    click.echo(script(context.find_root().command, {}, "ringctl", "_RINGCTL_COMPLETE").source())
