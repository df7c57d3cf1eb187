"""Ansible's own programs, started once: what takes most of their time is that Python reads them.

Reads requests from standard input, one JSON list a line: program, directory, arguments. Each is carried out by a forked
child, as the program's own start would, and answered by one line: exit status, standard output, standard error.
"""

import json
import os
import sys
import tempfile

from ansible.cli.adhoc import AdHocCLI
from ansible.cli.inventory import InventoryCLI

PROGRAMS = {"ansible": AdHocCLI, "ansible-inventory": InventoryCLI}


def run(program, directory, arguments, outputs):
    """Becomes the program, in a child; never returns."""
    for descriptor, output in zip((1, 2), outputs):
        os.dup2(output.fileno(), descriptor)
    os.chdir(directory)
    sys.argv = [program, *arguments]
    try:
        PROGRAMS[program].cli_executor(sys.argv)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        status = 250
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


for line in sys.stdin:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            run(*json.loads(line), (stdout, stderr))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for output in (stdout, stderr):
            output.seek(0)
            texts.append(output.read().decode())
    print(json.dumps([status, *texts]), flush=True)
