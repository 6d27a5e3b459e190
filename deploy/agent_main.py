"""First start of the one-file agent: check the Python, unpack once into a cache folder, and run from there."""

import fcntl
import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile

DIGEST = "@DIGEST@"
CACHE_TAG = "@CACHE_TAG@"
PLATFORM = "@PLATFORM@"
UNPACKING = ".unpacking-"


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


def hold(folder):
    """An open folder with a shared lock: while this process lives, nobody prunes what it runs from."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def unpacked(base):
    """`base/DIGEST` when it is whole, ours and held; it bears its name only then."""
    home = os.path.join(base, DIGEST)
    try:
        held = hold(home)
    except FileNotFoundError:
        return None
    if not ours(base) or not ours(home):
        raise OSError("others may write to " + home)
    if not os.path.isdir(home) or os.fstat(held).st_ino != os.stat(home).st_ino:
        # Pruned, or put there anew, while we waited for the lock.
        os.close(held)
        return None
    return home


def unpack(program, base):
    home = unpacked(base)
    if home is not None:
        return home
    os.makedirs(base, mode=0o755, exist_ok=True)
    if not ours(base):
        raise OSError("others may write to " + base)
    temporary = tempfile.mkdtemp(dir=base, prefix=UNPACKING)
    held = hold(temporary)
    try:
        with zipfile.ZipFile(program) as archive:
            archive.extractall(temporary, [name for name in archive.namelist() if name.startswith("lib/")])
        os.chmod(temporary, 0o755)
        # Whole on the disk before it bears the name: after a power cut nobody would look into it again.
        os.sync()
        try:
            os.rename(temporary, os.path.join(base, DIGEST))
        except OSError:
            # Another start was quicker; what it made is the same.
            shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        # A full disk must not be filled further by every try.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(held)
    home = unpacked(base)
    if home is None:
        raise OSError("cannot keep " + os.path.join(base, DIGEST))
    return home


def prune(base):
    """Remove other versions, and what broken unpackings left, unless a process still runs from there."""
    for name in os.listdir(base):
        folder = os.path.join(base, name)
        if name == DIGEST or not (name.startswith(UNPACKING) or len(name) == len(DIGEST)) or os.path.islink(folder):
            continue
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = os.path.join(base, UNPACKING + "gone-" + str(os.getpid()) + "-" + name[:16])
            os.rename(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)
        except OSError:
            pass  # in use, or not ours to remove
        finally:
            os.close(descriptor)


def main():
    if sys.implementation.cache_tag != CACHE_TAG or sysconfig.get_platform() != PLATFORM:
        here = "%s on %s" % (sys.implementation.cache_tag, sysconfig.get_platform())
        sys.exit("tidegate-agent: cannot run: built for %s on %s, this is %s" % (CACHE_TAG, PLATFORM, here))
    # Whoever may write what is unpacked here, or compiled beside it later, would be the agent.
    os.umask(0o022)
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
    if len(os.listdir(os.path.dirname(home))) > 1:
        prune(os.path.dirname(home))
    sys.path[0] = os.path.join(home, "lib")
    from tidegate.agent.run import main as run

    sys.exit(run())


main()
