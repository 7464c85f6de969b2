import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { FleetCli, until, type Row } from '../harness/fleet-cli.js';

// Controller and agents are SIGKILLed at random moments while VMs are made. Afterwards all of them are there, by the request
// repeated with its id or by the controller alone: each once, with an address of its own, and no lease is over.
// DOMHERD_CREATE_KILLS makes it shorter or longer.

const ROUNDS = Number(process.env['DOMHERD_CREATE_KILLS'] ?? 8);
const HOSTS = ['dom0-1', 'dom0-2'];
const COPY = ['copy-ms=60'];
const VMS = 6;
/** All are made in about a second. */
const KILL_AFTER_MS = { min: 50, max: 900 };

async function killOne(fleet: FleetCli, round: number): Promise<string> {
  const [host = ''] = HOSTS.slice(randomInt(HOSTS.length));
  const what = (['controller', 'agent', 'both'] as const)[round % 3] ?? 'both';
  if (what !== 'controller') await fleet.fleet.killAgent(host);
  if (what !== 'agent') await fleet.fleet.killController();
  if (what !== 'agent') await fleet.fleet.startController();
  if (what !== 'controller') await fleet.fleet.restartAgent(host, ['vms=1', ...COPY]);
  return what;
}

async function checkWhole(t: Test, fleet: FleetCli, name: string): Promise<void> {
  const vms = (await fleet.rows('vm list')).filter((vm) => String(vm['name']).startsWith(`${name}-`));
  const wanted = Array.from({ length: VMS }, (_, n) => `${name}-${String(n + 1)}`);
  t.strictSame(vms.map((vm) => vm['name']).sort(), wanted, 'each once');
  const held = vms.flatMap(
    (vm) => (vm['vifs'] as { lease: { address: string; state: string } | null }[])[0]?.lease ?? [],
  );
  t.ok(held.every(({ state }) => state === 'bound'));
  t.equal(new Set(held.map(({ address }) => address)).size, VMS, 'each has an address of its own');
}

/** Leases that no VM has. */
async function leasesOver(fleet: FleetCli): Promise<readonly Row[]> {
  const vms = await fleet.rows('vm list');
  const taken = new Set(
    vms.flatMap((vm) => (vm['vifs'] as { lease: { address: string } | null }[]).map((vif) => vif.lease?.address)),
  );
  const live = [...(await fleet.rows('lease list --state bound')), ...(await fleet.rows('lease list --state pending'))];
  return live.filter(({ address }) => !taken.has(String(address)));
}

t.test('creates while everything is killed', { timeout: 600_000 }, async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(HOSTS, 1, COPY);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  for (let round = 0; round < ROUNDS; round++) {
    const name = `r${String(round)}`;
    const command = `vm create ${name} --count ${String(VMS)} --like domU --memory 16 --request-id request-${name} -o json`;
    const cut = fleet.run(command);
    await delay(randomInt(KILL_AFTER_MS.min, KILL_AFTER_MS.max));
    const killed = await killOne(fleet, round);
    const { exitCode, err } = await cut;
    await fleet.areOnline(HOSTS);
    // Nobody knows whether a controller that died before it answered had heard of it: the user asks again.
    const isKept = exitCode === 0 || /the VMs are made all the same; .*: domherd vm create r\d/.test(err);
    if (!isKept || round % 2 === 0) await fleet.ok(command);
    const isThere = async (): Promise<boolean> =>
      (await fleet.rows('vm list')).filter((vm) => String(vm['name']).startsWith(`${name}-`)).length === VMS;
    const isDone = async (): Promise<boolean> =>
      (await fleet.rows('event list --kind vm.created --limit 1000')).length === VMS * (round + 1);
    await t.test(`round ${String(round)}: ${killed} killed, exit code ${String(exitCode)}`, async (t) => {
      await until(async () => (await isThere()) && (await isDone()), 'all are made');
      await checkWhole(t, fleet, name);
      t.strictSame(await leasesOver(fleet), [], 'no lease is over');
    });
  }
});
