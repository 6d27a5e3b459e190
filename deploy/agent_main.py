"""First start of the one-file agent: check the Python, unpack once into a cache folder, and run from there."""

import os
import sys
import sysconfig
import tempfile
import zipfile

DIGEST = "@DIGEST@"
CACHE_TAG = "@CACHE_TAG@"
PLATFORM = "@PLATFORM@"


def folders(program):
    """Where the unpacked program may live, in order: as told, beside the program, in the user's cache."""
    told = os.environ.get("TIDEGATE_AGENT_CACHE")
    if told:
        yield told
        return
    yield os.path.join(os.path.dirname(program), ".tidegate-agent")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    yield os.path.join(cache, "tidegate-agent")


def ours(folder):
    """Whether nobody but us and root can have put anything there."""
    facts = os.stat(folder)
    return facts.st_uid in (0, os.geteuid()) and not facts.st_mode & 0o022


def unpack(program, base):
    """`base/DIGEST`, which bears its name only when it is whole."""
    home = os.path.join(base, DIGEST)
    if os.path.isdir(home) and ours(base) and ours(home):
        return home
    os.makedirs(base, mode=0o755, exist_ok=True)
    if not ours(base):
        raise OSError("others may write to " + base)
    temporary = tempfile.mkdtemp(dir=base, prefix=".unpacking-")
    with zipfile.ZipFile(program) as archive:
        archive.extractall(temporary, [name for name in archive.namelist() if name.startswith("lib/")])
    os.chmod(temporary, 0o755)
    try:
        os.rename(temporary, home)
    except OSError:
        # Another start was quicker; what it made is the same.
        if not os.path.isdir(home):
            raise
    return home


def main():
    if sys.implementation.cache_tag != CACHE_TAG or sysconfig.get_platform() != PLATFORM:
        here = "%s on %s" % (sys.implementation.cache_tag, sysconfig.get_platform())
        sys.exit("tidegate-agent: cannot run: built for %s on %s, this is %s" % (CACHE_TAG, PLATFORM, here))
    program = os.path.realpath(sys.argv[0])
    trouble = []
    for base in folders(program):
        try:
            home = unpack(program, base)
            break
        except OSError as error:
            trouble.append(str(error))
    else:
        sys.exit("tidegate-agent: cannot unpack: " + "; ".join(trouble))
    sys.path[0] = os.path.join(home, "lib")
    from tidegate.agent.run import main as run

    sys.exit(run())


main()
