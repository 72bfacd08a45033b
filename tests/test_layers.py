"""Imports point down only, everywhere in a file: `docs/architecture.md`, "Who may import whom"."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gossipd"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

LEAVES = ("errors", "addresses", "timers", "events", "effects", "commands", "regexparser", "regex", "filters")
ABOVE: dict[str, tuple[str, ...]] = {
    # part of the program -> the parts it may import, besides itself
    **dict.fromkeys(LEAVES, LEAVES),
    "paths": ("errors",),
    "hooks": LEAVES,
    "wire": LEAVES,
    "swim": (*LEAVES, "wire"),
    "serf": (*LEAVES, "wire", "swim"),
    "mdns": LEAVES,
    "node": (*LEAVES, "wire", "swim", "serf"),
    "config": (*LEAVES, "paths", "hooks", "swim.config", "serf.config"),
    "rpc.codec": (),
    "rpc.plain": (),
    "rpc": (*LEAVES, "rpc.codec"),
    "daemon": (*LEAVES, "paths", "hooks", "wire", "swim", "serf", "mdns", "node", "config", "rpc"),
    "ctl": ("errors", "paths", "client", "regexparser", "regex"),
    "ctl.completion": ("config", "ctl"),
    "ctl.commands.migrate": ("errors", "client", "hooks", "config", "ctl"),
    "serfcli": ("errors", "client", "clientcalls", "clientwire", "config.kinds"),
    "serfcli.agent": (*LEAVES, "hooks", "swim", "serf", "node", "config", "rpc", "daemon", "serfcli"),
    "client": ("clientcalls", "clientrecords", "clientwire", "errors", "paths"),
    "trioclient": ("clientcalls", "clientrecords", "clientwire", "errors", "paths"),
    "clientwire": ("clientcalls", "rpc.plain"),
    "clientcalls": ("clientrecords", "errors", "paths"),
    "clientrecords": (),
    "__main__": ("daemon", "serfcli"),
    "": (),
}

# what touches the world: only these parts may import it
WORLD = {
    "trio": ("daemon", "serfcli.agent", "trioclient"),
    "signal": ("daemon", "ctl", "serfcli.agent"),
    "socket": ("daemon", "trioclient", "serfcli.agent"),
    "_socket": ("client", "clientrecords", "serfcli"),
    "_signal": ("ctl", "serfcli"),
    "time": ("daemon", "ctl", "client", "serfcli"),
    "os": ("daemon", "ctl", "client", "paths", "config", "serfcli"),
    "pathlib": ("daemon",),
    "logging": ("daemon", "serfcli.agent"),
    "select": ("daemon", "ctl"),
    **dict.fromkeys(("subprocess", "threading", "asyncio", "selectors", "ssl"), ("daemon",)),
    **dict.fromkeys(("secrets", "uuid", "tempfile", "shutil", "sdnotify"), ("daemon",)),
    "msgpack": ("wire", "rpc.codec", "rpc.plain"),
    "cryptography": ("wire.secure",),
    "dns": ("mdns.messages",),
    "tomllib": ("config",),
    "tomli_w": ("ctl",),
}


def imports(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """(line, module) of everything that a file imports, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else module


def part(module: str, known: dict[str, tuple[str, ...]] = ABOVE) -> str:
    """The part of the program that a module belongs to: the longest name in the table."""
    inner = module.removeprefix("gossipd").removeprefix(".")
    while inner and inner not in known:
        inner = inner.rpartition(".")[0]
    return inner


def within(module: str, parts: tuple[str, ...]) -> bool:
    inner = module.removeprefix("gossipd").removeprefix(".")
    return any(inner == one or inner.startswith(one + ".") for one in parts)


def test_every_module_belongs_to_a_part_of_the_architecture():
    strangers = [name for name in MODULES if name != "gossipd" and not part(name)]
    assert strangers == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_lies_below_it(name):
    own = part(name)
    allowed = (*ABOVE[own], own) if own else ()
    wrong = [
        f"{MODULES[name]}:{line}: {own or 'gossipd'} must not import {target}"
        for line, target in imports(MODULES[name], name)
        if target.startswith("gossipd.") and not within(target, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_only_the_shells_touch_the_world(name):
    wrong = [
        f"{MODULES[name]}:{line}: {target}"
        for line, target in imports(MODULES[name], name)
        if (top := target.partition(".")[0]) in WORLD and not within(name, WORLD[top])
    ]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in MODULES if not within(name, ("daemon", "ctl", "client"))])
def test_chance_is_handed_in_never_taken_from_the_random_module(name):
    wrong = []
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            wrong += [f"line {node.lineno}: random.{node.attr}"] if node.attr != "Random" else []
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            wrong += [f"line {node.lineno}: {alias.name}" for alias in node.names if alias.name != "Random"]
    assert wrong == []


def test_nothing_of_gossipd_imports_the_client_for_trio():
    wrong = [name for name, path in MODULES.items()
             if "gossipd.trioclient" in {target for _, target in imports(path, name)}]
    assert wrong == []


def test_no_two_modules_import_each_other():
    graph = {name: {target for _, target in imports(path, name) if target in MODULES and target != name}
             for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_package_itself_imports_nothing():
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            assert list(imports(path, name)) == [], f"{path} must import nothing"
