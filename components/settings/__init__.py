"""The stack's config as validated types; every wrong value is refused before any resource is registered.

``load`` reads and judges it, by what the plan and the documents say that are made of it; so those may import the
types (``models``), and only the program imports ``load``.
"""
