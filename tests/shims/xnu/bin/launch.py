"""Import sitecustomize, then run standard input, a script, -c TEXT or -m MODULE as the interpreter would."""

import os
import runpy
import sys

is_isolated = sys.flags.isolated
if not is_isolated:
    del sys.path[0]
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import sitecustomize  # noqa: F401, E402

del sys.path[0]
del sys.argv[0]
program = sys.argv[0] if sys.argv else "-"
if not is_isolated:
    is_file = program not in ("-", "-c", "-m")
    sys.path.insert(0, os.path.dirname(os.path.realpath(program)) if is_file else "")
if program == "-m":
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
elif program in ("-", "-c"):
    source = sys.argv.pop(1) if program == "-c" else sys.stdin.read()
    exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})
else:
    runpy.run_path(program, run_name="__main__")
