"""gossipd: read the settings, set up the log, run."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence

from gossipd.config.flags import parse
from gossipd.config.keyring import read_keyring
from gossipd.config.schema import Config
from gossipd.config.toml import load
from gossipd.errors import CommandError, ConfigError, GossipdError
from gossipd.serf.tags import encode_tags

EXIT_OK, EXIT_FAILED = 0, 1
EXIT_CONFIG = 78       # sysexits.h; service managers are told not to try again
FILES_WANTED = 4096


def main(argv: Sequence[str] | None = None, decided: Callable[[], None] | None = None) -> int:
    """The exit code: 0 after a graceful leave, 78 for bad settings, 2 for bad flags (SystemExit), else 1.

    `decided` is called once it is certain: signals mean nothing from then on.
    """
    open_standard_files()
    gc.disable()        # start-up makes no garbage worth looking for, and looking costs 3 ms
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        config = load(arguments.paths, arguments.flags)
        check(config)
        if arguments.check_only:
            for notice in config.notices:
                print(notice, file=sys.stderr)
            print("the settings are fine")
            return EXIT_OK
        return run(config, decided)
    except ConfigError as error:
        print(f"gossipd: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except GossipdError as error:
        print(f"gossipd: {error}", file=sys.stderr)
        return EXIT_FAILED


def open_standard_files() -> None:
    """What we were started without leads nowhere: else the next files to be opened would get these numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def check(config: Config) -> None:
    """What the schema cannot see: values that contradict each other, and files. Raises ConfigError."""
    serf = config.serf_config()
    serf.check()
    try:
        encode_tags(serf.tags, serf.protocol)
    except CommandError as error:
        raise ConfigError(f"{config.node.tags_file or 'node.tags'}: {error.full}") from None
    if config.encryption.keyring_file:
        read_keyring(config.encryption.keyring_file)


def run(config: Config, decided: Callable[[], None] | None) -> int:
    import logging

    import trio

    from gossipd.daemon import app, logs

    ring = logs.set_up(config.log.level, config.log.format)
    for notice in config.notices:
        logging.getLogger("gossipd.settings").warning("%s", notice)
    allow_files()
    gc.freeze()
    gc.enable()
    # Needed for trio 0.22; today it is the default.
    return trio.run(app.run, config, ring, None, decided, strict_exception_groups=True)


def allow_files() -> None:
    """Shells hand out 1024 file descriptors; our limits on streams and clients together are a little above that."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
