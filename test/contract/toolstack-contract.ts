import type { Test } from 'tap';
import type { Domain, VmMetrics } from '../../agent/domain/vm.js';
import type { Toolstack } from '../../agent/ports/toolstack.js';

/** A host on which no domain runs yet. */
export interface ToolstackRig {
  readonly toolstack: Toolstack;
  /** Of a guest that powers off when asked. */
  readonly name: string;
  readonly cfgPath: string;
  /** As the cfg has it. */
  readonly memoryMib: number;
  readonly vcpus: number;
}

const SHUTDOWN_SECONDS = 120;

/** What every toolstack does, simulated or real. Each case gets a host of its own. */
export function toolstackContract(t: Test, makeRig: (t: Test) => Promise<ToolstackRig>): void {
  const never = new AbortController().signal;

  t.test('a domain that was created is there, boots and counts', async (t) => {
    const { toolstack, cfgPath, name, memoryMib, vcpus } = await makeRig(t);
    t.equal(await find(toolstack, name), undefined);
    await toolstack.create(cfgPath, never);
    const domain = await find(toolstack, name);
    t.match(domain, { name, memoryMib, vcpus, uuid: /^[\da-f]{8}-[\da-f-]{27}$/ });
    t.notOk(await find(toolstack, 'Domain-0'), 'dom0 is never listed');
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');

    const first = await sampleOf(toolstack, name);
    t.ok(first);
    const second = await sampleOf(toolstack, name);
    for (const counter of ['cpuSeconds', 'rxBytes', 'txBytes', 'diskReadBytes', 'diskWrittenBytes'] as const) {
      t.ok((second?.[counter] ?? -1) >= (first?.[counter] ?? 0), `${counter} does not fall`);
    }
  });

  t.test('creating refuses what cannot be, and leaves nothing behind', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    await t.rejects(toolstack.create(cfgPath.replace(/[^/]+$/, 'none.cfg'), never), { code: 'not_found' });
    await t.rejects(toolstack.create(cfgPath, AbortSignal.abort(new Error('stop'))));
    t.equal(await find(toolstack, name), undefined);
    await toolstack.create(cfgPath, never);
    const before = await find(toolstack, name);
    await t.rejects(toolstack.create(cfgPath, never), { code: 'already_exists' });
    t.equal((await find(toolstack, name))?.uuid, before?.uuid);
  });

  t.test('a domain takes other memory and vcpus while it runs, up to what it was started with', async (t) => {
    const { toolstack, cfgPath, name, memoryMib, vcpus } = await makeRig(t);
    await t.rejects(toolstack.readLimits(name), { code: 'wrong_state' });
    await t.rejects(toolstack.resize(name, { memoryMib }, never), { code: 'wrong_state' });
    await toolstack.create(cfgPath, never);
    const limits = await toolstack.readLimits(name);
    t.ok(limits.memoryMib >= memoryMib && limits.vcpus >= vcpus, JSON.stringify(limits));
    await toolstack.resize(name, { memoryMib: memoryMib / 2 }, never);
    t.match(await find(toolstack, name), { memoryMib: memoryMib / 2, vcpus });
    const then = await toolstack.readLimits(name);
    t.ok(then.memoryMib >= memoryMib / 2 && then.memoryMib <= limits.memoryMib, JSON.stringify(then));
    await toolstack.resize(name, { ...limits }, never);
    t.match(await find(toolstack, name), { ...limits });
  });

  t.test('a domain that was destroyed is gone, however often', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    await toolstack.destroy(name, never);
    await toolstack.create(cfgPath, never);
    await toolstack.destroy(name, never);
    t.equal(await find(toolstack, name), undefined);
    t.equal(await sampleOf(toolstack, name), undefined);
    await toolstack.destroy(name, never);
  });

  t.test('a shutdown ends when the domain is gone, however often', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    await toolstack.shutdown(name, SHUTDOWN_SECONDS, never);
    await toolstack.create(cfgPath, never);
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');
    const domid = await toolstack.domidOf(name);
    const both = [1, 2].map(() => toolstack.shutdown(name, SHUTDOWN_SECONDS, never));
    await Promise.all(both);
    t.equal(await find(toolstack, name), undefined);
    await t.rejects(toolstack.domidOf(name), { code: 'wrong_state' });
    await toolstack.create(cfgPath, never);
    t.ok(await find(toolstack, name), 'and may come again');
    t.not(await toolstack.domidOf(name), domid, 'as another one');
  });

  t.test('a paused domain is there, and goes on', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    await t.rejects(toolstack.pause(name, never), { code: 'wrong_state' });
    await toolstack.create(cfgPath, never);
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');
    for (const verb of ['pause', 'unpause'] as const) {
      await toolstack[verb](name, never);
      await toolstack[verb](name, never);
      t.equal((await find(toolstack, name))?.state, verb === 'pause' ? 'paused' : 'running');
    }
  });

  t.test('a reboot ends when the domain is there anew', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    await t.rejects(toolstack.reboot(name, SHUTDOWN_SECONDS, never), { code: 'wrong_state' });
    await toolstack.create(cfgPath, never);
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');
    const domid = await toolstack.domidOf(name);
    await toolstack.reboot(name, SHUTDOWN_SECONDS, never);
    t.ok(await find(toolstack, name));
    t.not(await toolstack.domidOf(name), domid);
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');
  });

  t.test('a watch tells of changes until it is ended', async (t) => {
    const { toolstack, cfgPath, name } = await makeRig(t);
    let told = 0;
    const end = toolstack.watch(() => (told += 1));
    await toolstack.create(cfgPath, never);
    await until(toolstack, async () => (await find(toolstack, name))?.state === 'running');
    t.ok(told > 0);
    end();
    end();
    const before = told;
    await toolstack.destroy(name, never);
    t.equal(told, before);
  });
}

/** Waits for the toolstack to say that something changed, until it is as wanted. */
async function until(toolstack: Toolstack, isSo: () => Promise<boolean>): Promise<void> {
  let tell = (): void => undefined;
  const end = toolstack.watch(() => tell());
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => (tell = resolve));
      if (await isSo()) return;
      await changed;
    }
  } finally {
    end();
  }
}

async function find(toolstack: Toolstack, name: string): Promise<Domain | undefined> {
  return (await toolstack.listDomains()).find((domain) => domain.name === name);
}

async function sampleOf(toolstack: Toolstack, name: string): Promise<VmMetrics | undefined> {
  return (await toolstack.sample()).find((sample) => sample.name === name)?.metrics;
}
