"""What `make docs` builds the site of; the building itself is mkdocs'."""

from docs import pages, site


def test_the_menu_leads_to_every_page_once():
    found = [
        name
        for entry in site.menu()
        for names in entry.values()
        for name in ([names] if isinstance(names, str) else names)
    ]
    assert len(found) == len(set(found))
    wanted = {page.name for page in pages.all_pages()}
    assert set(found) <= wanted
    assert {name for name in wanted if name.startswith(("docs/", "results/"))} <= set(found)


def test_what_pages_link_to_comes_along(tmp_path):
    (tmp_path / "old").touch()
    site.collect(tmp_path)
    assert not (tmp_path / "old").exists()
    for page in pages.all_pages():
        copy = tmp_path / page.name
        assert copy.read_text() == page.text
        for link in page.links:
            path = link.partition("#")[0]
            if path and ":" not in path and (page.path.parent / path).is_file():
                assert (copy.parent / path).is_file(), (page.name, link)
