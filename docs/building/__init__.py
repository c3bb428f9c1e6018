"""Building: the generated pages and pictures of the site, called by MkDocs through the hooks.

Begin reading at :mod:`docs.building.hooks`.
"""
