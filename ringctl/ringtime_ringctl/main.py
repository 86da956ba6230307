"""The `ringctl` command."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from ringtime_ringctl.deployment.context import MAX_OPERATOR, Context, system_operator
from ringtime_ringctl.shell import EXIT_CODES, RingctlCommand, RingctlGroup, quieten_drivers
from ringtime_shared.api.audit import MAX_REASON_CHARS

#: Where each command is, in this package.
_COMMANDS = {
    "accept-loss": "accept_loss:accept_loss",
    "apps": "apps.command:apps",
    "audit": "audit.command:audit",
    "audit-fires": "fires:audit_fires",
    "calendars": "recurring.calendars:calendars",
    "completeness": "fires:completeness",
    "deadletters": "schedules.deadletters:deadletters",
    "doctor": "doctor.command:doctor",
    "drain": "ring.drain:drain",
    "explain": "schedules.explain:explain",
    "forecast": "forecast:forecast_command",
    "keys": "keys:keys",
    "nodes": "ring.nodes:nodes",
    "parts": "parts.command:parts",
    "recurring": "recurring.command:recurring",
    "resize": "resize.command:resize",
    "restored": "restored:restored",
    "ring": "ring.command:ring",
    "schedules": "schedules.command:schedules",
    "secrets": "secrets:secrets",
    "shadow": "shadow:shadow",
    "undrain": "ring.drain:undrain",
}
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


def _check_operator(context: click.Context, parameter: click.Parameter, value: str | None) -> str:  # noqa: ARG001
    name = system_operator() if value is None else value
    if not name.strip() or not name.isprintable() or len(name) > MAX_OPERATOR:
        raise click.BadParameter(f"must be 1 to {MAX_OPERATOR} printable characters")
    return name


def _check_reason(context: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001
    if not value.isprintable() or len(value) > MAX_REASON_CHARS:
        raise click.BadParameter(f"must be at most {MAX_REASON_CHARS} printable characters")
    return value


@click.group(
    cls=RingctlGroup,
    late={name: f"ringtime_ringctl.{place}" for name, place in _COMMANDS.items()},
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ringtime")
@click.option("--json", "is_json", is_flag=True, help="Print JSON; also after the command's name.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a one-process deployment, also while `ringtime serve` runs on it. Default: Cassandra and"
    " etcd, as the settings say.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file, the one the pods have; variables like RINGTIME_CASSANDRA_PORT count as well.",
)
@click.option(
    "--operator",
    envvar="RINGCTL_OPERATOR",
    callback=_check_operator,
    help="Who you are, for the audit log. Default: RINGCTL_OPERATOR, or your user name.",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the API key, for what goes through the API. Default: RINGTIME_KEY, or the file that"
    " RINGTIME_KEY_FILE names.",
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificates that the API's and the nodes' may be signed by, PEM. Default: RINGTIME_CA_FILE. For a"
    " client certificate there are RINGTIME_CLIENT_CERT_FILE and RINGTIME_CLIENT_KEY_FILE.",
)
@click.option(
    "--reason",
    envvar="RINGCTL_REASON",
    default="",
    callback=_check_reason,
    help="Why you change what you change, for the audit log. Default: RINGCTL_REASON.",
)
@click.option("--no-color", is_flag=True, help="No colour on a terminal; NO_COLOR does the same.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the drivers log.")
@click.pass_context
def main(
    context: click.Context,
    is_json: bool,
    data: Path | None,
    config: Path | None,
    operator: str,
    key_file: Path | None,
    ca_file: Path | None,
    reason: str,
    no_color: bool,
    verbose: bool,
) -> None:
    """Look after a Ringtime deployment, and change its capacity while it runs.

    \b
    Examples:
      ringctl ring                          who owns what, and how far behind
      ringctl --data ./data doctor          a one-process deployment on a folder
      ringctl --config ringtime.toml nodes  the deployment the pods' settings name
      ringctl drain dispatcher-2 --wait     empty a node before it is stopped
    """
    quieten_drivers(verbose)
    context.obj = Context(
        is_json=is_json,
        is_plain=no_color,
        data=data,
        config=config,
        operator=operator,
        key_file=key_file,
        ca_file=ca_file,
        reason=reason,
    )


main.add_command(completion)

if __name__ == "__main__":
    main()
