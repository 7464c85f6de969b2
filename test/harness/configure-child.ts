// An agent's part that changes a VM, in a process of its own, which kills itself at a step, or is killed.
// `configure-child.mjs ROOT N STEP`: recovers, says "ready", gives the VM its N-th address, or with "restore" the files that it
// had before, says "done".
import { open } from 'node:fs/promises';
import { createExec } from '../../shared/exec.js';
import type { RecordStore } from '../../agent/ports/record-store.js';
import { makeConfigureRig, settingsOf, stoppedVm } from './configure-rig.js';

const [root = '', n = '', step = ''] = process.argv.slice(2);

/** Never goes on if it is that step. */
async function pass(name: string): Promise<void> {
  if (name !== step) return;
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => undefined);
}

function watched(name: string, store: RecordStore): RecordStore {
  return {
    list: () => store.list(),
    read: (key) => store.read(key),
    write: async (key, bytes) => {
      await pass(`before ${name} write`);
      await store.write(key, bytes);
      await pass(`after ${name} write`);
    },
    remove: async (key) => {
      await pass(`before ${name} remove`);
      await store.remove(key);
      await pass(`after ${name} remove`);
    },
  };
}

/** A step for each write to a place of the disk, done by halves: `in piece 0`, ... */
async function watchPieces(): Promise<void> {
  const handle = await open('/dev/null', 'r');
  const prototype = Object.getPrototypeOf(handle) as { write: (...args: unknown[]) => Promise<unknown> };
  await handle.close();
  const write = prototype.write;
  let pieces = 0;
  prototype.write = async function (this: unknown, ...args: unknown[]) {
    const [bytes, offset, length, at] = args;
    if (typeof at === 'number' && typeof length === 'number') {
      if (step === `in piece ${pieces}`) await write.call(this, bytes, offset, length / 2, at);
      await pass(`in piece ${pieces}`);
      pieces += 1;
    }
    return write.call(this, ...args);
  };
}

await watchPieces();
const rig = makeConfigureRig(root, createExec(process.env), ({ cfgFolder, intents, changes, originals }) => ({
  cfgFolder: {
    path: cfgFolder.path,
    list: () => cfgFolder.list(),
    survey: () => cfgFolder.survey(),
    read: (path) => cfgFolder.read(path),
    watch: (onChange) => cfgFolder.watch(onChange),
    add: (path, text) => cfgFolder.add(path, text),
    remove: (path, before) => cfgFolder.remove(path, before),
    move: (from, to) => cfgFolder.move(from, to),
    replace: async (...args) => {
      await pass('before cfg');
      await cfgFolder.replace(...args);
      await pass('after cfg');
    },
  },
  intents: watched('intent', intents),
  changes: watched('change', changes),
  originals: watched('original', originals),
}));
await rig.configurer.recover();
if (n !== '') {
  process.stdout.write('ready\n');
  const vm = stoppedVm(rig.cfgPath);
  const { signal } = new AbortController();
  if (n === 'restore') await rig.configurer.restore(vm, () => undefined, signal);
  else await rig.configurer.configure(vm, settingsOf(Number(n)), () => undefined, signal);
}
process.stdout.write('done\n');
