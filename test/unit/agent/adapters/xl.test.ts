import { rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createExec, createFollow } from '../../../../shared/exec.js';
import { createLog } from '../../../../shared/log.js';
import { DirCfgFolder } from '../../../../agent/adapters/disk/dir-cfg-folder.js';
import { systemClock } from '../../../../agent/adapters/system/system-clock.js';
import { findXenHost } from '../../../../agent/adapters/xl/xen-host.js';
import { Xenstore } from '../../../../agent/adapters/xl/xenstore.js';
import { XlHostReport } from '../../../../agent/adapters/xl/xl-host-report.js';
import { XlToolstack } from '../../../../agent/adapters/xl/xl-toolstack.js';
import type { Clock } from '../../../../agent/ports/clock.js';
import { toolstackContract } from '../../../contract/toolstack-contract.js';
import { failed, FakeXen } from '../../../fakes/fake-xen.js';
import { FakeXenstored } from '../../../fakes/fake-xenstored.js';

const NEVER = new AbortController().signal;
const LOG = createLog('test', 'silent');

/** Limits of minutes pass in milliseconds; intervals below a second stay. */
function hurried(factor: number): Clock {
  return {
    nowMs: () => Date.now() * factor,
    schedule: (delayMs, run) => systemClock.schedule(Math.max(1, delayMs / factor), run),
  };
}

async function openXen(t: Test, { clock = systemClock, hasStore = true }: { clock?: Clock; hasStore?: boolean } = {}) {
  // A test's own folder is too long for the path of a socket.
  const root = await mkdtemp(join(tmpdir(), 'xen-'));
  const xen = new FakeXen(root);
  await xen.start({ hasStore });
  const cfgDir = t.testdir({ 'domU.cfg': cfg('domU'), 'other.cfg': cfg('other') });
  const cfgFolder = new DirCfgFolder(cfgDir, join(root, 'backup'), clock);
  const host = await findXenHost(xen.places);
  const exec = createExec(process.env);
  const toolstack = new XlToolstack({ host, exec, follow: createFollow(process.env), cfgFolder, clock, log: LOG });
  t.teardown(async () => {
    toolstack.close();
    await xen.stop();
    await rm(root, { recursive: true, force: true });
  });
  const path = (name: string): string => join(cfgDir, `${name}.cfg`);
  const state = async (name: string) => (await toolstack.listDomains()).find((one) => one.name === name)?.state;
  return { xen, toolstack, path, state, host, exec, root };
}

function cfg(name: string, vif = 'mac=00:16:3e:00:00:01, bridge=xenbr0'): string {
  return `name = '${name}'\nmemory = 256\nvcpus = 2\nvif = [ '${vif}' ]\n`;
}

/** Resolves when it becomes so; each look follows a change that the toolstack told of. */
async function until(toolstack: XlToolstack, isSo: () => Promise<boolean> | boolean): Promise<void> {
  let wake = (): void => undefined;
  const end = toolstack.watch(() => wake());
  try {
    for (;;) {
      const told = new Promise<void>((resolve) => (wake = resolve));
      if (await isSo()) return;
      await told;
    }
  } finally {
    end();
  }
}

/** For what nobody tells of. */
async function eventually(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

t.test('xl with xenstore is a toolstack', (t) => {
  toolstackContract(t, async (t) => {
    const { toolstack, path } = await openXen(t);
    return { toolstack, name: 'domU', cfgPath: path('domU'), memoryMib: 256, vcpus: 2 };
  });
  t.end();
});

t.test('xl without the socket of xenstore is a toolstack', (t) => {
  toolstackContract(t, async (t) => {
    const { toolstack, path } = await openXen(t, { hasStore: false });
    return { toolstack, name: 'domU', cfgPath: path('domU'), memoryMib: 256, vcpus: 2 };
  });
  t.end();
});

t.test('what is done by hand shows', async (t) => {
  const { xen, toolstack, state } = await openXen(t);
  t.teardown(toolstack.watch(() => undefined));
  t.equal(await state('mine'), undefined);
  const domain = xen.createHalf('mine');
  await until(toolstack, async () => (await state('mine')) === 'starting');
  xen.finish(domain);
  await until(toolstack, async () => (await state('mine')) === 'running');
  domain.flags = 'p';
  await until(toolstack, async () => (await state('mine')) === 'paused');
  domain.flags = 'b';
  await until(toolstack, async () => (await state('mine')) === 'running');
  xen.store.write(`/local/domain/${domain.domid}/memory/target`, `${64 * 1024}`);
  await until(toolstack, async () => (await toolstack.listDomains())[0]?.memoryMib === 64);
  xen.store.write(`/local/domain/${domain.domid}/name`, 'yours');
  await until(toolstack, async () => (await state('yours')) !== undefined);
  t.equal(await state('mine'), undefined);
  xen.store.write(`/local/domain/${domain.domid}/control/shutdown`, 'poweroff');
  domain.name = 'yours';
  await until(toolstack, async () => (await state('yours')) === 'stopping');
  domain.flags = 'sc';
  await until(toolstack, async () => (await state('yours')) === 'crashed');
  xen.end(domain);
  await until(toolstack, async () => (await state('yours')) === undefined);
  t.same(xen.calledVerbs(), [], 'xl was not asked once');
  // The answer to a later question: the unwatch was there before.
  await toolstack.listDomains();
  t.notMatch(xen.store.watches.join(' '), `/local/domain/${domain.domid}/`, 'no watch is left of it');
});

t.test('an idle host: one xentop, nothing else', async (t) => {
  const { xen, toolstack, path } = await openXen(t);
  t.teardown(toolstack.watch(() => undefined));
  await toolstack.create(path('domU'), NEVER);
  await until(toolstack, async () => (await toolstack.listDomains())[0]?.state === 'running');
  const before = xen.calls.length;
  for (let n = 0; n < 20; n += 1) await Promise.all([toolstack.listDomains(), toolstack.sample()]);
  t.equal(xen.calls.length, before);
  t.equal(xen.calls.filter((call) => call === 'xentop -b -f -d 1').length, 1);
});

t.test('counters are the guest’s', async (t) => {
  const { xen, toolstack } = await openXen(t);
  const domain = xen.finish(xen.createHalf('domU', { cpuSeconds: 7 }));
  xen.setCounters(domain.domid, { rx: 1000, tx: 20, read: 8, written: 3 });
  await until(toolstack, async () => (await toolstack.sample()).length === 1);
  const [sample] = await toolstack.sample();
  t.match(sample, {
    name: 'domU',
    metrics: { cpuSeconds: 7, rxBytes: 20, txBytes: 1000, diskReadBytes: 4096, diskWrittenBytes: 1536 },
  });
});

t.test('xenstored', (t) => {
  t.test('may be restarted: what is watched is watched again', async (t) => {
    const { xen, toolstack, state } = await openXen(t);
    t.teardown(toolstack.watch(() => undefined));
    const domain = xen.finish(xen.createHalf('domU'));
    await until(toolstack, async () => (await state('domU')) === 'running');
    await xen.store.close();
    await until(toolstack, async () => (await state('domU')) === 'running' && xen.calledVerbs().includes('list -v'));
    await xen.store.listen(xen.places.xenstoreSocket);
    const before = xen.store.connections;
    await eventually(() => xen.store.connections > before && xen.store.watches.length >= 6);
    xen.end(domain);
    await until(toolstack, async () => (await state('domU')) === undefined);
  });

  t.test('may send in any pieces, and more names than one answer holds', async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'xen-'));
    const [path, server] = [join(root, 's'), new FakeXenstored()];
    server.pieceBytes = 7;
    for (let n = 0; n < 1500; n += 1) server.write(`/local/domain/${n}/name`, `domain ${n}`);
    await server.listen(path);
    const store = new Xenstore(path, systemClock);
    t.teardown(async () => {
      store.close();
      await server.close();
      await rm(root, { recursive: true });
    });
    const names = await store.directory('/local/domain');
    t.same(
      names?.map(Number).sort((a, b) => a - b),
      Array.from({ length: 1500 }, (_, n) => n),
    );
    const read = await Promise.all([...Array(100).keys()].map((n) => store.read(`/local/domain/${n}/name`)));
    t.same(
      read,
      Array.from({ length: 100 }, (_, n) => `domain ${n}`),
      'answers find their questions',
    );
    t.equal(await store.read('/nothing'), undefined);
    t.equal(await store.directory('/nothing'), undefined);
    server.write('/long', 'x'.repeat(70_000));
    t.equal((await store.read('/long'))?.length, 70_000);
    await t.rejects(store.read('x'.repeat(5000)), { code: 'invalid' });
    t.equal(server.connections, 1);
  });

  t.test('that hangs is left, and xl asked', async (t) => {
    const { xen, toolstack } = await openXen(t, { clock: hurried(50) });
    xen.finish(xen.createHalf('domU'));
    xen.store.isDeaf = true;
    t.match(await toolstack.listDomains(), [{ name: 'domU', state: 'running' }]);
    t.ok(xen.calledVerbs().includes('list -v'));
  });
  t.end();
});

t.test('a toolstack that does not answer says so, and never that nothing is there', (t) => {
  const cases = [
    { name: 'fails', answer: failed(1, 'xencall: error: Could not obtain handle on privileged command interface\n') },
    { name: 'talks nonsense', answer: { stdout: '\u0000\u0001 hello\n', stderr: '', exitCode: 0 } },
    { name: 'says nothing', answer: { stdout: '', stderr: '', exitCode: 0 } },
  ];
  for (const { name, answer } of cases) {
    t.test(`xl ${name}`, async (t) => {
      const { xen, toolstack } = await openXen(t, { hasStore: false });
      xen.finish(xen.createHalf('domU'));
      xen.answers.set('list', answer);
      await t.rejects(toolstack.listDomains(), { code: 'unavailable' });
      xen.answers.clear();
      t.match(await toolstack.listDomains(), [{ name: 'domU' }], 'and may answer again');
    });
  }
  t.end();
});

t.test('create', (t) => {
  t.test('runs in a scope of its own, by absolute paths, one at a time', async (t) => {
    const { xen, toolstack, path, host } = await openXen(t);
    await Promise.all([toolstack.create(path('domU'), NEVER), toolstack.create(path('other'), NEVER)]);
    t.equal(xen.mostCreating, 1);
    const order = '--property=Before=xendomains.service';
    const scope = `--scope --slice=domherd-domains.slice ${order} --collect --quiet --`;
    t.same(xen.scopes(), [`${scope} ${host.xl} create ${path('domU')}`, `${scope} ${host.xl} create ${path('other')}`]);
  });

  t.test('refuses what xl would only warn of', async (t) => {
    const { xen, toolstack, path } = await openXen(t);
    for (const text of [cfg('domU', 'mac=zz'), cfg('domU', 'mac=00:16:3E:xx:xx:xx'), 'memory = 1\n', 'import os\n']) {
      writeFileSync(path('domU'), text);
      await t.rejects(toolstack.create(path('domU'), NEVER), { code: 'invalid' });
    }
    t.same(xen.calledVerbs(), []);
  });

  t.test('tells what xl said', async (t) => {
    const { xen, toolstack, path } = await openXen(t);
    const said = "xc: error: panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain";
    xen.answers.set('create', failed(3, said));
    await t.rejects(toolstack.create(path('domU'), NEVER), { code: 'wrong_state', details: { output: said } });
    rmSync(join(xen.places.path, 'systemd-run'));
    await t.rejects(toolstack.create(path('domU'), NEVER), { code: 'unavailable' });
  });

  t.test('is not called paused for what xentop saw while it was built', async (t) => {
    const { xen, toolstack, path, state } = await openXen(t);
    t.teardown(toolstack.watch(() => undefined));
    xen.buildMs = 400;
    const created = toolstack.create(path('domU'), NEVER);
    await until(toolstack, async () => (await state('domU')) === 'starting' && (await toolstack.sample()).length === 1);
    xen.isMeterBroken = true;
    xen.killMeters();
    await created;
    t.equal(await state('domU'), 'running');
  });

  t.test('that is cut short leaves nothing behind', async (t) => {
    const { xen, toolstack, path, state } = await openXen(t);
    xen.hangs.add('create');
    const abort = new AbortController();
    const created = toolstack.create(path('domU'), abort.signal);
    // Not before: whichever file is read first has the first turn.
    await until(toolstack, async () => (await state('domU')) !== undefined);
    const queued = toolstack.create(path('other'), abort.signal);
    abort.abort(new Error('stop'));
    await Promise.all([t.rejects(created, { message: 'stop' }), t.rejects(queued, { message: 'stop' })]);
    t.equal(xen.find('domU'), undefined);
    t.same(
      xen.calledVerbs().filter((verb) => verb.startsWith('destroy')),
      ['destroy 1'],
    );
    t.notOk(xen.calledVerbs().includes(`create ${path('other')}`));
  });
  t.end();
});

t.test('shutdown', (t) => {
  t.test('that the guest ignores is a timeout, and leaves it alone', async (t) => {
    const { xen, toolstack, state } = await openXen(t);
    xen.powerOffMs = Infinity;
    xen.finish(xen.createHalf('domU'));
    await t.rejects(toolstack.shutdown('domU', 4, NEVER), { code: 'timeout', details: { hint: /destroy/ } });
    t.ok(xen.find('domU'));
    t.same(xen.calledVerbs(), ['shutdown -F 1']);
    t.equal(await state('domU'), 'stopping', 'it may still do so');
  });

  t.test('that xl refuses says so; an abort ends the wait', async (t) => {
    const { xen, toolstack } = await openXen(t);
    xen.finish(xen.createHalf('domU'));
    xen.answers.set('shutdown', failed(1, 'shutdown failed (rc=-3)\n'));
    await t.rejects(toolstack.shutdown('domU', 5, NEVER), { code: 'wrong_state', details: { output: /rc=-3/ } });
    xen.answers.clear();
    xen.powerOffMs = Infinity;
    const abort = new AbortController();
    const waiting = toolstack.shutdown('domU', 60, abort.signal);
    void eventually(() => xen.calledVerbs().length === 2).then(() => abort.abort(new Error('enough')));
    await t.rejects(waiting, { message: 'enough' });
  });
  t.end();
});

t.test('a destroy that xl fails is told, unless the domain went all the same', async (t) => {
  const { xen, toolstack } = await openXen(t);
  const domain = xen.finish(xen.createHalf('domU'));
  xen.answers.set('destroy', failed(1, 'destroy failed (rc=-3)'));
  await t.rejects(toolstack.destroy('domU', NEVER), { code: 'wrong_state', details: { output: /rc=-3/ } });
  const gone = toolstack.destroy('domU', NEVER);
  xen.end(domain);
  await gone;
  t.pass();
});

t.test('xentop that dies is started again, and its last word believed meanwhile', async (t) => {
  const { xen, toolstack, state } = await openXen(t);
  t.teardown(toolstack.watch(() => undefined));
  const domain = xen.finish(xen.createHalf('domU'));
  domain.flags = 'p';
  await until(toolstack, async () => (await state('domU')) === 'paused');
  xen.killMeters();
  t.equal(await state('domU'), 'paused');
  domain.flags = 'b';
  await until(toolstack, async () => (await state('domU')) === 'running');
  t.equal(xen.calls.filter((call) => call.startsWith('xentop')).length, 2);
});

t.test('the host is what Xen says of it', async (t) => {
  const { xen, host, exec } = await openXen(t);
  const report = new XlHostReport({ exec, host, log: LOG });
  t.match(await report.readFacts(), { xenVersion: '4.17.7', cpus: 8, memoryMib: 16384, memoryFreeMib: 15337 });
  xen.createHalf('domU', { memoryMib: 1000 });
  for (let n = 0; n < 5; n += 1) t.equal(await report.readMemoryFreeMib(), 15337);
  t.equal(xen.calledVerbs().length, 1, 'asked once, however often it is read');
  report.domainsChanged();
  await report.readMemoryFreeMib();
  for (let n = 0; n < 300 && (await report.readMemoryFreeMib()) === 15337; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.equal(await report.readMemoryFreeMib(), 14337);
  t.equal(xen.calledVerbs().length, 2);
});

t.test('a machine that is no dom0 is refused with what to do', async (t) => {
  const { xen } = await openXen(t);
  const { places } = xen;
  rmSync(join(places.path, 'xl'));
  await t.rejects(findXenHost(places), { code: 'wrong_state', message: /no xl/, details: { hint: /apt-get/ } });
  writeFileSync(places.capabilities, '\n');
  await t.rejects(findXenHost(places), { code: 'wrong_state', message: /control_d/, details: { hint: /sim/ } });
  rmSync(places.capabilities);
  await t.rejects(findXenHost(places), { code: 'wrong_state', message: /no Xen dom0/ });
});
