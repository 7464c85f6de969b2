// `npm run lab`: starts the lab and leaves it running. `-- status`, `-- stop`.
import { findLab, labPlace, minutesSince, openLab, type Lab } from './lab.js';
import { endOnSignal, lockLab } from './lock.js';

function hint(lab: Lab): string {
  const dist = `${process.cwd()}/dist`;
  const { home, socket } = lab.frontend;
  return `
The lab is up: dom0-1, dom0-2, and a frontend on their network. Its logs: ${lab.folder}
  ${lab.enter} bash            # a shell on the frontend; there:
  export HOME=${home} DOMHERD_DATA_DIR=${home}/controller DOMHERD_SOCKET=${socket}
  ssh dom0-1                                  # as root
  node ${dist}/controller/domherd-controller.mjs serve --advertise 10.183.255.1 &
  alias domherd='node ${dist}/cli/domherd.mjs'
  domherd host list
Back to the snapshot: npm run lab. Off: npm run lab -- stop
`;
}

async function main(verb: string | undefined): Promise<void> {
  const place = labPlace();
  const unlock = lockLab(place);
  endOnSignal(async () => {
    await findLab(place).stop();
    unlock();
  });
  try {
    if (verb === 'stop') {
      await findLab(place).stop();
      console.log('the lab is off');
    } else if (verb === 'status') {
      const lab = findLab(place);
      for (const host of lab.hosts) console.log(`${host}  ${lab.machine(host).isRunning() ? 'running' : 'off'}`);
    } else if (verb === undefined) {
      const lab = await openLab(place, console.log);
      const started = Date.now();
      await lab.start('snapshot');
      console.log(`started: ${minutesSince(started)} min${hint(lab)}`);
    } else {
      throw new Error(`"${verb}" is none of: stop, status`);
    }
  } finally {
    unlock();
  }
}

await main(process.argv[2]);
process.exit();
