"""Pages from Jinja2 templates, which escape everything that is put into them."""

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from hw2_keras._version import __version__
from hw2_keras.errors import UsageError

PACKAGE = Path(__file__).parents[1]


def breakable(name: str) -> Markup:
    """A name that may be broken behind its underscores, for narrow columns."""
    return Markup("_<wbr>").join(name.split("_"))


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(PACKAGE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["breakable"] = breakable


def render(template: str, style: Path, script: Path | None = None, **content: object) -> str:
    """One self-contained HTML file.

    Args:
        template: its path below the package; it extends ``report/base.html.jinja``.
        style, script: files that become part of the page. Its Content-Security-Policy allows
            these two by their hashes, pictures inside the page, and nothing else.
        content: what the template names.
    """
    css = style.read_text("utf-8")
    js = script.read_text("utf-8") if script else ""
    return ENVIRONMENT.get_template(template).render(
        style=Markup(css),
        script=Markup(js),
        policy=policy(css, js),
        version=__version__,
        **content,
    )


def place(folder: Path, title: str) -> Path:
    """Makes the folder of a page; returns the page in it, which may be there already.

    Args:
        folder: where ``index.html`` goes; made if missing.
        title: of the page, by which an older one is known.

    Raises:
        UsageError: the folder cannot be written, or holds the page of something else.
    """
    page = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        other = page.exists() and not (page.is_file() and _is_titled(page, title))
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder} ({error.strerror}): choose another with --out"
        ) from error
    if other:
        raise UsageError(f"{page} is another page: choose another folder with --out")
    return page


def _is_titled(page: Path, title: str) -> bool:
    with page.open("rb") as file:
        return f"<title>{title}</title>".encode() in file.read(10_000)


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with one inline style and at most one script."""
    scripts = digest(script) if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """How a Content-Security-Policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def png_address(path: Path) -> str:
    """A PNG file as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
