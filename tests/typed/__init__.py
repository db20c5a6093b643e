"""Code that is only type-checked: see tests/test_typing.py."""
