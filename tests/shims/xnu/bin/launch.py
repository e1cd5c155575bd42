"""Run a script or a module after sitecustomize, with the interpreter's options dropped."""

import os
import runpy
import sys

del sys.argv[0]
sys.path[0] = os.environ["SHIM"]
import sitecustomize  # noqa: F401, E402

while sys.argv[0][:1] == "-" and sys.argv[0] not in ("-m", "-c"):
    del sys.argv[0]
if sys.argv[0] == "-c":
    sys.path[0] = ""
    source = sys.argv.pop(1)
    exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})
elif sys.argv[0] == "-m":
    sys.path[0] = ""
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
else:
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
