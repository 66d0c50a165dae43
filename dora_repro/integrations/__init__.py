"""Training libraries' own hooks that name, for a check, what the library holds: a callback, a handler, a call.

A launched script needs none of them: the recorder names the same by itself, before the first step. They are for scripts
that it does not get into by itself (`python -I`, a container), and for names from an earlier moment on. Without a check
they do nothing.
"""
