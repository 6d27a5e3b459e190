"""What on this device is the agent itself: no artifact is ever put there, whatever the owner allows."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

import tidegate
from tidegate.agent.settings import Settings, Source

#: Where the installer puts settings and program for the whole device; the command beside other programs.
_INSTALLED = ("/etc/tidegate", "/opt/tidegate", "/usr/local/bin/tidegate-agent")
_UNPACKED = ".tidegate-agent"


def _interpreter() -> list[str]:
    """What decides which code a start of this interpreter runs, whether it is there or not.

    All of the module search path, of which the archive comes first and is seldom there; and `pyvenv.cfg`, which may
    move all of it, beside the executable and one folder above.
    """
    programs = {Path(program) for program in (sys.executable, os.path.realpath(sys.executable))}
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    searched = [path for path in sys.path if path.startswith("/")]
    homes = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    return [
        *(str(program) for program in programs),
        *(str(folder / "pyvenv.cfg") for program in programs for folder in (program.parent, program.parents[1])),
        *homes,
        *(str(Path(home).parent / archive) for home in homes),
        *searched,
    ]


def own_paths(source: Source, settings: Settings) -> tuple[str, ...]:
    """Settings, state with keys and journal, sockets, the program, and the interpreter that runs it; links resolved."""
    library = Path(tidegate.__file__).parents[1]
    unpacked = [folder.parent for folder in library.parents if folder.name == _UNPACKED]
    found = [
        *_INSTALLED,
        str(source.file),
        str(source.fragments),
        settings.state_dir,
        settings.run_dir,
        str(settings.inhibit_path),
        str(library),
        *(str(folder) for folder in unpacked),
        *_interpreter(),
        # What lies there as a .pth file is run by every start of this interpreter.
        *site.getsitepackages(),
    ]
    if source.file.parent.name == "tidegate":
        found.append(str(source.file.parent))
    return tuple(dict.fromkeys([*found, *(os.path.realpath(path) for path in found)]))
