import { Fleet } from '../harness/fleet.js';
import { agentRows } from './agent.js';
import { measureFdatasync, measureInserts } from './anchor.js';
import { bootRows } from './boot.js';
import { acquire, connectTls, fill, measureLeases } from './client.js';
import { measureHelp, measureLeaseList } from './command.js';
import { measureKea } from './kea.js';
import { scaleRows } from './scale.js';
import { formatRows, median, rate, times, type Row } from './report.js';

// `npm run bench`: one table from one run; each figure beside an anchor of the same run. Nothing here passes or fails.
// `-- --scale` is only the thousand simulated hosts, `--with-clush` adds clush and pdsh to those (needs root, clustershell, pdsh,
// openssh-server). `--with-kea` adds Debian's Kea (needs root, kea-dhcp4-server, kea-admin).

const RATE_MS = 5_000;
const LATENCY_RUNS = 51;
/** Leases a request, requests in flight. */
const SHAPES = [
  [1, 64],
  [16, 64],
  [256, 16],
] as const;
/** Usable addresses of 256 /22s, less the gateway. */
const POOL_SIZE = 256 * 1022 - 1;

async function importPool(fleet: Fleet, name: string, cidr: string): Promise<void> {
  const args = [
    'reservation',
    'import',
    '-',
    '--name',
    name,
    '--ends',
    '+12h',
    '--gateway',
    '10.183.255.254',
    '--prefix',
    '14',
  ];
  const imported = await fleet.domherd(args, `${cidr}\n`);
  if (imported.exitCode !== 0) throw new Error(imported.stderr);
}

/** Before and after the leases, the better of both: on a disk that others use too, an anchor by itself says little. */
interface Anchors {
  readonly fdatasync: number;
  readonly inserts: number;
}

function measureAnchors(folder: string, before: Anchors = { fdatasync: 0, inserts: 0 }): Anchors {
  return {
    fdatasync: Math.max(before.fdatasync, measureFdatasync(folder)),
    inserts: Math.max(before.inserts, measureInserts(folder)),
  };
}

async function rateRows(fleet: Fleet, kea: number | undefined): Promise<Row[]> {
  const before = measureAnchors(fleet.folder);
  const client = await connectTls(fleet);
  const measured: { perRequest: number; inFlight: number; perSecond: number }[] = [];
  for (const [perRequest, inFlight] of SHAPES) {
    await measureLeases(client, perRequest, inFlight, 500);
    const { leasesPerSecond } = await measureLeases(client, perRequest, inFlight, RATE_MS);
    measured.push({ perRequest, inFlight, perSecond: leasesPerSecond });
  }
  client.close();
  const { fdatasync, inserts } = measureAnchors(fleet.folder, before);
  const row = (what: string, perSecond: number, beside: string, goal = ''): Row => {
    return { what, value: rate(perSecond, 1_000), anchor: beside, goal };
  };
  const besideKea = (perSecond: number): string => (kea === undefined ? '' : `, ${times(perSecond, kea)} Kea`);
  return [
    row('fdatasync of this disk', fdatasync, ''),
    row('SQLite, one INSERT a commit', inserts, `${times(inserts, fdatasync)} fdatasync`),
    ...(kea === undefined ? [] : [row('Kea, memfile, perfdhcp', kea, `${times(kea, fdatasync)} fdatasync`)]),
    ...measured.map(({ perRequest, inFlight, perSecond }) =>
      row(
        `leases over mTLS, ${String(perRequest)} a request, ${String(inFlight)} in flight`,
        perSecond,
        `${times(perSecond, fdatasync)} fdatasync, ${times(perSecond, inserts)} INSERT${besideKea(perSecond)}`,
        perRequest === 16 ? '>= 3x fdatasync, >= 8x Kea' : '',
      ),
    ),
  ];
}

/** Milliseconds of one acquire of one lease, median. */
async function latency(client: Awaited<ReturnType<typeof connectTls>>): Promise<number> {
  const runs: number[] = [];
  for (let run = 0; run < LATENCY_RUNS; run += 1) {
    const start = performance.now();
    await acquire(client, 1);
    runs.push(performance.now() - start);
  }
  return median(runs);
}

/** The first addresses of a fresh /14, then its last ones, then a restart with all of them taken. */
async function poolRows(): Promise<Row[]> {
  const fleet = new Fleet();
  try {
    await fleet.startController();
    await importPool(fleet, 'bench', '10.180.0.0/14');
    const client = await connectTls(fleet);
    await latency(client);
    const first = await latency(client);
    await fill(client, POOL_SIZE - 3 * LATENCY_RUNS - 1);
    const last = await latency(client);
    client.close();
    await fleet.killController();
    const start = performance.now();
    await fleet.startController();
    const again = await connectTls(fleet);
    await acquire(again, 1);
    const restart = performance.now() - start;
    again.close();
    return [
      { what: 'first free address of a /14', value: `${first.toFixed(2)} ms`, anchor: '', goal: '' },
      {
        what: 'last free address of a /14',
        value: `${last.toFixed(2)} ms`,
        anchor: `${times(last, first)} the first`,
        goal: '<= 2x',
      },
      {
        what: 'killed, started, first lease; a full /14',
        value: `${restart.toFixed(0)} ms`,
        anchor: `${String(POOL_SIZE - 1)} leases`,
        goal: '<= 1,500 ms',
      },
    ];
  } finally {
    await fleet.stop();
  }
}

async function commandRows(fleet: Fleet): Promise<Row[]> {
  const { help, bare } = measureHelp();
  await importPool(fleet, 'list', '10.177.0.0/18');
  const acquired = await fleet.domherd(['lease', 'acquire', 'listed', '--count', '4000', '--reservation', 'list']);
  const more = await fleet.domherd(['lease', 'acquire', 'listed-b', '--count', '4000', '--reservation', 'list']);
  const rest = await fleet.domherd(['lease', 'acquire', 'listed-c', '--count', '2000', '--reservation', 'list']);
  for (const { exitCode, stderr } of [acquired, more, rest]) if (exitCode !== 0) throw new Error(stderr);
  const listed = await measureLeaseList(fleet);
  return [
    {
      what: 'domherd --help',
      value: `${help.toFixed(0)} ms`,
      anchor: `${times(help, bare)} node -e 0 (${bare.toFixed(0)} ms)`,
      goal: '<= 2x',
    },
    {
      what: `domherd lease list, ${String(listed.leases)} leases`,
      value: `${listed.ms.toFixed(0)} ms`,
      anchor: `${times(listed.ms, bare)} node -e 0`,
      goal: '',
    },
  ];
}

async function main(): Promise<void> {
  const withShells = process.argv.includes('--with-clush');
  if (process.argv.includes('--scale')) {
    console.log(formatRows(await scaleRows(withShells)));
    return;
  }
  const fleet = new Fleet();
  try {
    await fleet.startController();
    await importPool(fleet, 'bench', '10.180.0.0/14');
    const kea = process.argv.includes('--with-kea') ? await measureKea(fleet.folder) : undefined;
    const rows = [...(await rateRows(fleet, kea)), ...(await poolRows()), ...(await commandRows(fleet))];
    rows.push(...bootRows(fleet.folder), ...(await agentRows(fleet)), ...(await scaleRows(withShells)));
    console.log(formatRows(rows));
  } finally {
    await fleet.stop();
  }
}

await main();
