import { equal, notEqual } from 'node:assert/strict';
import { domherd, hostsAreBack } from './cli.js';
import { listFiles, notedFiles } from './file-list.js';
import type { Group } from './group.js';
import { join } from './join.js';

/** What domherd brought goes, what it found stays. */
export const remove: Group = {
  name: 'remove',
  after: join,
  steps: (lab) => [
    hostsAreBack(lab),
    ['host add changed the dom0', async () => notEqual(await listFiles(lab, 'dom0-1'), notedFiles(lab, 'dom0-1'))],
    [
      'host remove leaves it as it was found, file by file',
      async () => {
        await domherd(lab, 'host remove dom0-1 --yes');
        equal(await listFiles(lab, 'dom0-1'), notedFiles(lab, 'dom0-1'));
        equal((await lab.ssh('dom0-1', ['systemctl', 'cat', 'domherd-agent'])).exitCode === 0, false);
        equal(await lab.must('dom0-1', 'systemctl is-system-running'), 'running\n');
      },
    ],
  ],
};
