"""The structure: no circle between files, no import that runs up, no long function, no dead one."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("hw2_keras", "export")
    for path in sorted((ROOT / package).rglob("*.py"))
}
LONGEST = 60  # lines of a function
# From the ground up; a room imports from those above it in this list, and from itself.
ROOMS = (
    "errors files lock experiments _version",
    "records metrics",
    "data",
    "models",
    "decoding",
    "theory",
    "runs training",
    "plots",
    "report",
    "reproduction",
    "exercises",
)


def imports(module: str) -> set[str]:
    """The files of this repository that a file imports, at its top or inside of a function."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    of_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in of_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & FILES.keys() or {node.module}
    return found & FILES.keys()


def test_the_imports_of_the_files_have_no_circle() -> None:
    graph = {module: imports(module) - {module} for module in FILES}
    assert sum(map(len, graph.values())) > 100
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_imports_run_downward() -> None:
    place = {name: i for i, row in enumerate(ROOMS) for name in row.split()}
    rooms = {module: module.split(".")[1] for module in FILES if module.startswith("hw2_keras.")}
    upward = [
        (module, wanted)
        for module in rooms.keys() - {"hw2_keras.cli", "hw2_keras.demo", "hw2_keras.__main__"}
        for wanted in imports(module) & rooms.keys()
        if rooms[module] in place and place[rooms[wanted]] > place[rooms[module]]
    ]
    assert not upward
    assert not [m for m in rooms if any(w.startswith("export") for w in imports(m))]


def libraries(nodes: Iterable[ast.AST]) -> set[str]:
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names


def test_the_runtime_and_the_theory_stand_alone() -> None:
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}
    assert libraries(list(ast.walk(trees["export.runtime"]))) == {"numpy", "onnxruntime"}
    for module, tree in trees.items():
        if module.startswith("hw2_keras.theory"):
            assert libraries(tree.body) <= {"numpy", "scipy", "hw2_keras"}, module
            assert all(wanted.startswith("hw2_keras.theory") for wanted in imports(module)), module


def functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}: {f.end_lineno - f.lineno + 1} lines"
        for path in FILES.values()
        for f in functions(path)
        if f.end_lineno - f.lineno + 1 > LONGEST
    ]
    assert not long


def assigned(node: ast.stmt) -> set[str]:
    """The names that a statement gives a value to."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_every_public_name_is_used_outside_of_the_tests() -> None:
    folders = ("hw2_keras", "export", "tutorials", "benchmarks", "docs", "examples")
    texts = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    texts = [p for p in texts if p.suffix in (".py", ".rst", ".md", ".jinja")]
    words = [(ROOT / "README.md").read_text(encoding="utf-8")]
    words += [path.read_text(encoding="utf-8") for path in texts if "_build" not in path.parts]
    written = Counter(re.findall(r"\w+", "\n".join(words)))
    defined = {
        node.name
        for path in FILES.values()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    constants = {
        name
        for path in FILES.values()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in assigned(node)
        if not name.startswith("_")
    }
    fields = {
        name
        for node in ast.parse(FILES["hw2_keras.experiments"].read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        for name in assigned(inner)
    }
    assert "clip_value" in fields and "VERDICTS" in constants
    assert not {name for name in defined | constants if written[name] < 2}
    read = "\n".join(
        path.read_text(encoding="utf-8")
        for module, path in FILES.items()
        if module != "hw2_keras.experiments"
    )
    assert not fields - set(re.findall(r"\w+", read))


def test_no_block_is_empty() -> None:
    empty = [
        f"{module}:{node.lineno}"
        for module, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.If) and ast.unparse(node.body) == "pass"
    ]
    assert not empty


def pins(name: str) -> dict[str, str]:
    """The exact versions of a requirements file, by name as package indexes write it."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_lock_holds_every_pin_with_hashes_and_no_address() -> None:
    locked = pins("requirements-dev.lock")
    for name in ("requirements-build.lock", "requirements.lock"):
        assert pins(name).items() <= locked.items()
    assert pins("requirements.txt").items() <= pins("requirements.lock").items(), "make lock"
    for name in ("requirements.txt", "requirements-test.txt", "requirements-docs.txt"):
        assert pins(name) and pins(name).items() <= locked.items(), "make lock"
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-build.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text and "--index" not in text and " @ " not in text
