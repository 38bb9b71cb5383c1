"""The Anyport SDK: a client that is often away gets exactly what it missed. See README.md of this folder's parent."""

import atexit

from .anyport import *
from .anyport import stop_runtime

# A thread that calls into Python while it ends is killed by it, and the process with that thread.
atexit.register(stop_runtime)
