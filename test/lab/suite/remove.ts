import { equal, notEqual } from 'node:assert/strict';
import type { Lab } from '../lab.js';
import { domherd, G5K_SUBNETS } from './cli.js';
import type { Group } from './group.js';

/** Every file of the root file system with size, mode and owner; but for what a running system writes by itself. */
function listing(lab: Lab, host: string): Promise<string> {
  const own = ['/proc', '/sys', '/dev', '/run', '/tmp', '/var/log', '/var/tmp', '/var/cache', '/var/lib/systemd'];
  const skipped = own.map((path) => `-path ${path}`).join(' -o ');
  return lab.must(
    host,
    `find / -xdev \\( ${skipped} \\) -prune -o -type d -printf '%p %m %U\\n' -o -printf '%p %s %m %U %l\\n' | sort`,
  );
}

/** What domherd brought goes, what it found stays. */
export const remove: Group = {
  name: 'remove',
  steps: (lab) => {
    let before = '';
    return [
      [
        'host add changes the dom0',
        async () => {
          before = await listing(lab, 'dom0-1');
          await lab.frontend.startController();
          await domherd(lab, 'reservation import - --name job42 --ends +8h', G5K_SUBNETS);
          await domherd(lab, 'host add dom0-1');
          notEqual(await listing(lab, 'dom0-1'), before);
        },
      ],
      [
        'host remove leaves it as it was found, file by file',
        async () => {
          await domherd(lab, 'host remove dom0-1 --yes');
          equal(await listing(lab, 'dom0-1'), before);
          equal((await lab.ssh('dom0-1', ['systemctl', 'cat', 'domherd-agent'])).exitCode === 0, false);
          equal(await lab.must('dom0-1', 'systemctl is-system-running'), 'running\n');
        },
      ],
    ];
  },
};
