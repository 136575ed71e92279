"""A MkDocs hook: what the theme leaves without a name gets one, for those who do not see the page."""

from __future__ import annotations

DIALOG = '<div class="md-search" data-md-component="search" role="dialog"'


def on_post_page(output, config, **_):
    output = output.replace(DIALOG, f'{DIALOG} aria-label="Search"')
    # The label that names a group has nothing but an arrow in it where the group's first page is its own.
    for number, group in enumerate(config.nav or (), start=1):
        output = output.replace(f'aria-labelledby="__nav_{number}_label"', f'aria-label="{next(iter(group))}"')
    return output
