"""Class archives: what the classes of a Java server came to at an earlier start, for all later ones.

An eighth of what Cassandra does until it answers, and a third of what Kafka does, is to read, verify and link
some thousand classes. Java writes the outcome into a file when it is told to, as it ends, and maps that file
at the next start. It looks by itself whether the file is of the same Java and the same jars, and if not it
starts as if there were none. So a brief server is started and ended once for each Java and each set of jars,
the first time that one is asked for; where that fails, there is an entry without a file, and no second try.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Event

from ringtime_local.cache import cache_folder, cached
from ringtime_local.errors import Aborted, LaunchError
from ringtime_local.java import is_brief, version_text
from ringtime_local.runtimes import Runtime

WRITE_S = 90.0  #: a server that is to write its archive is given to end
_NAME = "classes.jsa"
_WRITING = "-XX:ArchiveClassesAtExit="

Rehearse = Callable[[Path, tuple[str, ...]], None]
"""Start a server in this folder with these options for Java, and end it in good order."""


def archive_options(
    name: str, runtime: Runtime, options: Sequence[str], rehearse: Rehearse, abort: Event
) -> tuple[str, ...]:
    """Return the options for Java with which a server `name` starts from its archive; none if it has none.

    Args:
        options: those that it has already; while it is to write an archive, it starts from none.
    """
    if not is_brief() or runtime.image is not None or any(each.startswith(_WRITING) for each in options):
        return ()

    def fill(draft: Path) -> None:
        for other in cache_folder().glob(f"{name}-classes-*"):  # of another Java, or of other jars
            shutil.rmtree(other, ignore_errors=True)
        try:
            rehearse(draft / "server", (f"{_WRITING}{draft / _NAME}",))
        except Aborted:
            raise
        except LaunchError:
            (draft / _NAME).unlink(missing_ok=True)
        finally:
            shutil.rmtree(draft / "server", ignore_errors=True)

    file = cached(f"{name}-classes-{_digest(runtime)}", fill, abort) / _NAME
    return (f"-XX:SharedArchiveFile={file}", "-Xlog:cds=off") if file.is_file() else ()


def _digest(runtime: Runtime) -> str:
    program, *_, classpath = runtime.argv
    jars = sorted(
        (jar.name, jar.stat().st_size, jar.stat().st_mtime_ns) for jar in Path(classpath).parent.iterdir()
    )
    return sha256(repr((version_text(program), classpath, jars)).encode()).hexdigest()[:12]
