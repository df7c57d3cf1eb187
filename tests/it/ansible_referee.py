"""Ansible's own programs, started once: what takes most of their time is that Python reads them.

Reads requests from standard input, one JSON list a line: program, directory, arguments. Each is carried out by a forked
child, as the program's own start would, and answered by one line: exit status, standard output, standard error. The program
`batches` is no program of Ansible's, but the part of ansible-playbook that cuts a play's hosts into batches.
"""

import json
import os
import sys
import tempfile
import traceback
from types import SimpleNamespace

from ansible.cli.adhoc import AdHocCLI
from ansible.cli.inventory import InventoryCLI
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.template import Templar

PROGRAMS = {"ansible": AdHocCLI, "ansible-inventory": InventoryCLI}


def batches(requests):
    """Prints the batches of each request: an inventory's text or a number of hosts, a limit, and a play."""
    all_batches = []
    for inventory, limit, play in requests:
        loader = DataLoader()
        known = {"hosts": play.get("hosts", "all"), "tasks": []}
        known.update((word, play[word]) for word in ("serial", "order") if word in play)
        if isinstance(inventory, int):
            hosts = [str(number) for number in range(inventory)]
            source = SimpleNamespace(get_hosts=lambda pattern, order: list(hosts))
        else:
            with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
                file.write(inventory)
                file.flush()
                source = InventoryManager(loader, sources=[file.name])
            if limit is not None:
                source.subset(limit)
        cutter = SimpleNamespace(_inventory=source)
        loaded = Play.load(known, loader=loader)
        loaded.post_validate(Templar(loader=loader))
        cut = PlaybookExecutor._get_serialized_batches(cutter, loaded)
        all_batches.append([[str(host) for host in batch] for batch in cut])
    print(json.dumps(all_batches))


def run(program, directory, arguments, outputs):
    """Becomes the program, in a child; never returns."""
    for descriptor, output in zip((1, 2), outputs):
        os.dup2(output.fileno(), descriptor)
    os.chdir(directory)
    sys.argv = [program, *arguments]
    try:
        if program == "batches":
            batches(json.loads(arguments[0]))
        else:
            PROGRAMS[program].cli_executor(sys.argv)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
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
