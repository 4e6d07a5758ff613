"""The pages as a site: `make docs` builds it, offline; it opens from a folder.

Its search needs a server: `python -m http.server -d build/docs`. The site has the layout of the
project, so every link between pages is right in both. What pages link to beside pages (code,
figures) is copied. The menu is that of docs/README.md: its headings and its links.
"""

import itertools
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from docs.pages import ROOT, Page, all_pages, slug
from rolekd.display import say
from rolekd.errors import InputError

INDEX = Page("docs/README.md")
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "docs"


def main() -> None:
    """Write build/docs/index.html, and what it leads to; a link that leads nowhere is a fault."""
    from mkdocs.commands.build import build
    from mkdocs.config.defaults import MkDocsConfig

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    collect(PAGES)
    config = MkDocsConfig()
    config.load_dict(settings())
    for key, fault in itertools.chain(*config.validate()):  # errors and warnings
        raise InputError(f"docs/site.py: {key}: {fault}; mend the settings")
    build(config)
    say(f"{SITE / 'index.html'}")


def collect(folder: Path) -> None:
    """Copy the pages, and the files that they link to, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = all_pages()
    wanted = {page.path for page in pages}
    for page in pages:
        linked = [(page.path.parent / link.partition("#")[0]).resolve() for link in page.links]
        wanted.update(path for path in linked if path.is_relative_to(ROOT) and path.is_file())
    for path in sorted(wanted):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def menu() -> list[dict[str, Any]]:
    """Return the headings of the index, each with the pages that it links to, each page once."""
    found: list[dict[str, Any]] = [{"rolekd": "README.md"}, {"Documentation": INDEX.name}]
    seen = {"README.md", INDEX.name}
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", INDEX.text, re.M | re.S):
        names = []
        for link in re.findall(r"\]\(([^)#\s]+\.md)", body):
            name = str((INDEX.path.parent / link).resolve().relative_to(ROOT))
            if name not in seen:
                seen.add(name)
                names.append(name)
        found += [{title: names}] if names else []
    rest = [page.name for page in all_pages() if page.name not in seen]
    measured = [name for name in rest if name.startswith("results/")]
    return [*found, {"Measured": measured}]


def settings() -> dict[str, Any]:
    """Return the settings of mkdocs: nothing is fetched, neither now nor by who reads."""
    return {
        "site_name": "rolekd",
        "docs_dir": str(PAGES),
        "site_dir": str(SITE),
        "strict": True,
        "use_directory_urls": False,  # a folder has no server that finds index.html
        "theme": {"name": "material", "font": False, "features": ["navigation.sections"]},
        "plugins": ["search"],
        "markdown_extensions": [
            "tables",
            "pymdownx.superfences",
            # anchors as forges make them
            {"toc": {"slugify": lambda title, _: slug(title), "permalink": True}},
        ],
        "nav": menu(),
        "validation": {"links": {"anchors": "warn"}},
    }


if __name__ == "__main__":
    main()
