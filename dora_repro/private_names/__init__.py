"""Every private name of CPython, numpy and torch that the kit uses, so that a new version is checked in one place.

A private name may go in any release. Each module here offers what the kit needs of one of the three under a name of its
own, and lists in `NAMES` what that stands on; tests/private_names looks each up in the version that is installed, and
tests/project sees to it that no other module uses one.
"""
