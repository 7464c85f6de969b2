import { existsSync } from 'node:fs';
import t from 'tap';
import { parse } from 'yaml';
import { progressOf } from '../fakes/cli-run.js';
import { FleetCli, MOVING } from '../harness/fleet-cli.js';

// The command line against the built controller and two simulated dom0s, as a user has them: what is printed where, what
// is refused and how. The subtests build on one another.

const SITE = '10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247';
const G5K_SUBNETS = `10.180.0.0/22\t${SITE}\n`;

const cli = new FleetCli();
t.teardown(() => cli.fleet.stop());
t.before(() => cli.start(['dom0-1', 'dom0-2'], 2));

t.test('reservations', async (t) => {
  const imported = await cli.run('reservation import - --name job42 --ends +8h', { stdin: G5K_SUBNETS });
  t.match(imported, { exitCode: 0, err: /ends: .* in 8h\nreservation job42: imported\n$/ });
  const again = await cli.run('reservation import - --name job42', { stdin: '10.180.2.0/23\r\n10.180.0.0/23\r\n' });
  t.match(again, { exitCode: 0, err: /reservation job42: unchanged/ }, 'the same addresses in another form');
  t.match(await cli.ok('reservation show job42'), /10\.180\.0\.0\/22/);
  const [shown] = await cli.rows('reservation show job42');
  t.match(shown, { name: 'job42', size: 1022 });
  await cli.ok('reservation import - --name spare --ends +1h --gateway 192.168.7.1 --prefix 24', {
    stdin: '192.168.7.0/29',
  });
  const extended = await cli.run('reservation extend spare --ends +2h');
  t.match(extended, { exitCode: 0, err: /ends: .* in 2h/ });
  t.match(await cli.run('reservation delete spare --yes'), { exitCode: 0, out: '', err: /spare is gone/ });
  t.equal(await cli.ok('reservation list -o name'), 'job42\n');
});

t.test('leases, MACs and VMs', async (t) => {
  t.equal(await cli.ok('lease next 2 -o ips'), '10.180.0.1\n10.180.0.2\n');
  t.match(await cli.ok('vm address --all'), /domU@dom0-1 +done/);
  t.match(await cli.ok('vm start --all'), /domU2?@dom0-2 +done/);
  await cli.ok('vm wait --all --for=running');
  t.equal(await cli.ok('vm list -o ips'), '10.180.0.1\n10.180.0.2\n10.180.0.3\n10.180.0.4\n');
  t.match(await cli.ok('lease acquire web --count 2'), /web-1[^]*web-2/);
  const [first] = await cli.rows('lease acquire web-1');
  t.match(first, { address: '10.180.0.5', mac: '00:16:3e:b4:00:05', state: 'bound', owner: 'web-1' }, 'sticky');
  t.match(
    await cli.ok('lease acquire chosen --address 10.180.1.9 --mac 00:16:3e:00:00:99'),
    /10\.180\.1\.9 +00:16:3e:00:00:99/,
  );
  t.match(await cli.ok('lease release 10.180.0.6 --yes'), /10\.180\.0\.6.*quarantined.*web-2/);
  t.match(await cli.ok('lease history web-2'), /lease\.acquired[^]*lease\.released/);
  t.match(await cli.ok('lease history domU@dom0-1'), /lease\.acquired[^]*lease\.bound/);
  t.match(await cli.ok('mac list'), /00:16:3e:00:00:99 +\S+ +10\.180\.1\.9 +chosen/);
  t.match(await cli.ok('event list --kind lease.released'), /10\.180\.0\.6/);
});

t.test('what is printed, and where', async (t) => {
  const cases: { args: string; formats: string[] }[] = [
    { args: 'reservation list', formats: ['name'] },
    { args: 'reservation show job42', formats: ['name'] },
    { args: 'lease list', formats: ['name', 'ips'] },
    { args: 'lease next 3', formats: ['ips'] },
    { args: 'lease history 10.180.0.1', formats: [] },
    { args: 'lease acquire web-1', formats: ['name', 'ips'] },
    { args: 'host list', formats: ['name'] },
    { args: 'host show dom0-1', formats: ['name'] },
    { args: 'vm list', formats: ['name', 'ips'] },
    { args: 'vm show domU@dom0-1', formats: ['name', 'ips'] },
    { args: 'vm start --all', formats: ['name', 'ips'] },
    { args: 'vm wait --all --for running', formats: ['name', 'ips'] },
    { args: 'mac list', formats: ['name', 'ips'] },
    { args: 'event list', formats: [] },
    { args: 'conflict list', formats: ['name'] },
    { args: 'version', formats: [] },
  ];
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/;
  for (const { args, formats } of cases) {
    const json: unknown = JSON.parse(await cli.ok(`${args} -o json`));
    t.ok(Array.isArray(json), `${args}: JSON is an array`);
    const count = (json as unknown[]).length;
    for (const format of ['name', 'ips']) {
      const { exitCode, out, err } = await cli.run(`${args} -o ${format}`);
      if (!formats.includes(format)) {
        t.match({ exitCode, out, err }, { exitCode: 2, out: '', err: /hint: this command has: -o table/ }, args);
        continue;
      }
      const lines = out.split('\n').slice(0, -1);
      if (format === 'name') t.equal(lines.length, count, `${args}: one name a line`);
      else t.ok(lines.length > 0 && lines.every((line) => isAddress.test(line)), `${args}: one address a line`);
    }
    const table = await cli.ok(args);
    const wide = await cli.ok(`${args} -o wide`);
    t.match(titlesOf(wide), titlesOf(table), `${args}: wide has what the table has`);
    t.ok(wide.length >= table.length, `${args}: and no less`);
    const headless = await cli.ok(`${args} --no-headers`);
    t.notMatch(table, '\u001b', `${args}: no colour in a pipe`);
    if (/^[A-Z]+ {2}/.test(table)) t.equal(headless.split('\n').length, table.split('\n').length - 1, args);
  }
});

function titlesOf(table: string): readonly string[] {
  return (table.split('\n')[0] ?? '').split(/ {2,}/).slice(0, 1);
}

t.test('YAML says what JSON says', async (t) => {
  for (const args of [
    'reservation list',
    'lease list',
    'vm list',
    'host show dom0-1',
    'mac list',
    'event list --limit 9',
  ]) {
    // Counters move between two calls.
    const plain = (text: unknown): string =>
      JSON.stringify(text, (key, value: unknown) => (MOVING.has(key) ? 0 : value));
    const yaml: unknown = parse(await cli.ok(`${args} -o yaml`));
    t.equal(plain(yaml), plain(await cli.rows(args)), args);
  }
  t.match(parse(await cli.ok('vm start --all --dry-run -o yaml')), [], 'a plan too');
});

t.test('patterns name many at once', async (t) => {
  const names = async (args: string) => (await cli.ok(`${args} -o name`)).trimEnd().split('\n');
  t.same(await names('vm list domU@dom0-[1-2]'), ['domU@dom0-1', 'domU@dom0-2']);
  t.same(await names('vm list *@dom0-2'), ['domU@dom0-2', 'domU2@dom0-2']);
  t.equal((await names('vm start domU*')).length, 4);
  t.same(await names('vm show *U2@dom0-1'), ['domU2@dom0-1'], 'one that matches is one');
  t.same(await names('host list dom0-[1-2]'), ['dom0-1', 'dom0-2']);
  t.same(await names('bridge list --host *-1').then((all) => all.filter((name) => !name.endsWith('@dom0-1'))), []);
  const [one, all] = [await cli.rows('event list --vm domU@dom0-1'), await cli.rows('event list --vm domU@dom0-*')];
  const ids = (rows: readonly Record<string, unknown>[]) => new Set(rows.map(({ vmId }) => vmId));
  t.same([ids(one).size, ids(all).size], [1, 2], 'events of those, and of no other');
  t.same(ids(await cli.rows('event list --host dom0-[1-2] --kind host.joined')).size, 1);
  t.equal((await cli.rows('event list --host dom0-[1-2] --kind host.joined')).length, 2);
});

t.test('wide tells what there is no room for otherwise', async (t) => {
  const [titles = '', vm = ''] = (await cli.ok('vm list domU@dom0-1 -o wide')).split('\n');
  t.match(titles, /MAC.*CPU +MEMORY NOW.*BRIDGE +RESERVATION +LABELS +UUID +AUTOSTART +CFG +NOTE/);
  t.match(vm, /eth0|xenbr0/);
  t.match(vm, /job42 .*\/.*\.cfg +simulated/);
  t.match(await cli.ok('host list -o wide'), /FREE +KERNEL[^]*dom0-2 .* MiB/);
  t.match(await cli.ok('lease list -o wide'), /OWNER.*REVISION +SINCE +CHANGED +UNTIL/);
  t.match(await cli.ok('reservation list -o wide'), /QUARANTINED.*GATEWAY[^]*10\.183\.255\.254/);
});

t.test('colour is for terminals that want it', async (t) => {
  t.match(await cli.ok('vm list', { isTerminal: true }), '\u001b[32mrunning');
  t.notMatch(await cli.ok('vm list', { isTerminal: true, env: { NO_COLOR: '1' } }), '\u001b');
  t.notMatch(await cli.ok('vm list', { isTerminal: true, env: { TERM: 'dumb' } }), '\u001b');
});

t.test('a dry run says what would be done, ends as the run would, and changes nothing', async (t) => {
  const before = await cli.everything();
  const cases: { args: string; says: RegExp; stdin?: string; exitCode?: number; err?: RegExp }[] = [
    { args: 'vm destroy --all --dry-run', says: /domU@dom0-1 +destroy/ },
    { args: 'vm shutdown --all --dry-run', says: /domU@dom0-1 +shut down/ },
    { args: 'vm start --all --dry-run', says: /VM +STEP/ },
    {
      ...{ args: 'vm address --all --dry-run', says: /VM +STEP/, exitCode: 5 },
      err: /warning: VM domU@dom0-1 is running[^]*hint: domherd vm shutdown domU@dom0-1/,
    },
    { args: 'vm restore-files --all --dry-run', says: /VM +STEP/, exitCode: 5, err: /hint: domherd vm shutdown/ },
    { args: 'vm delete domU@dom0-1 --dry-run', says: /VM +STEP/, exitCode: 5 },
    {
      args: 'reservation import - --name other --ends +1h --dry-run',
      stdin: '10.180.8.0/22',
      says: /10\.180\.8\.0\/22/,
    },
  ];
  for (const { args, says, exitCode = 0, err = /(?:)/, ...options } of cases) {
    const dry = await cli.run(args, options);
    t.match(dry, { exitCode, out: says, err }, args);
    if (exitCode !== 0)
      t.equal(
        (await cli.run(args.replace('--dry-run', '--yes').replace(/(address.*) --yes/, '$1'))).exitCode,
        exitCode,
        args,
      );
  }
  t.equal(await cli.everything(), before);
  t.notOk(existsSync('/nonexistent'), 'nor a folder made for it');
});

interface Refusal {
  readonly args: string;
  readonly stdin?: string;
  readonly exitCode: number;
  readonly says: RegExp;
}

const IMPORT = 'reservation import - --name bad --ends +1h';

const REFUSALS: readonly Refusal[] = [
  { args: IMPORT, stdin: '', exitCode: 2, says: /source is empty[^]*hint: .*subnet/ },
  { args: IMPORT, stdin: '10.180.8.0/22\nhello\n', exitCode: 2, says: /line 2\b.*hello/ },
  { args: IMPORT, stdin: '10.180.8.1/22', exitCode: 2, says: /line 1\b[^]*hint: .*10\.180\.8\.0\/22/ },
  { args: IMPORT, stdin: '10.180.010.0/22', exitCode: 2, says: /line 1\b.*10\.180\.010\.0/ },
  { args: IMPORT, stdin: '192.168.0.0/24', exitCode: 2, says: /prefix length and gateway of the network[^]*hint: / },
  {
    args: 'reservation import - --name bad --ends 2020-01-01T00:00Z',
    stdin: '10.180.8.0/22',
    exitCode: 5,
    says: /over since 2020-01-01T00:00:00Z/,
  },
  { args: IMPORT, stdin: '10.180.2.0/23', exitCode: 4, says: /bad.*job42|job42.*bad/ },
  { args: 'reservation show job24', exitCode: 3, says: /"job24"[^]*hint: .*job42/ },
  { args: 'reservation delete job42 --yes', exitCode: 5, says: /bound/ },
  { args: 'reservation extend job42 --ends 2020-01-01T00:00Z', exitCode: 2, says: /hint: / },
  { args: 'lease acquire x --address 10.180.4.1', exitCode: 2, says: /10\.180\.4\.1.*not one of its addresses/ },
  { args: 'lease acquire x --address 10.180.0.0', exitCode: 2, says: /10\.180\.0\.0.*first or last address/ },
  { args: 'lease acquire x --address 10.180.0.1', exitCode: 4, says: /10\.180\.0\.1 is held by domU@dom0-1#0/ },
  { args: 'lease acquire x --address 10.180.0.6', exitCode: 4, says: /rests after its release by web-2, until/ },
  { args: 'lease acquire x --mac 00:16:3e:b4:00:01', exitCode: 4, says: /00:16:3e:b4:00:01 is held by domU@dom0-1#0/ },
  { args: 'lease acquire x --mac 01:16:3e:b4:00:01', exitCode: 2, says: /01:16:3e:b4:00:01 is no MAC[^]*hint: .*even/ },
  { args: 'lease acquire x --address 10.180.0.010', exitCode: 2, says: /10\.180\.0\.010/ },
  { args: `lease acquire ${'x'.repeat(300)}`, exitCode: 2, says: /^domherd: NAME[: ].*owner/ },
  { args: 'event list --kind nope', exitCode: 2, says: /^domherd: --kind: "nope" is no kind/ },
  { args: `vm create ${'y'.repeat(129)} --like domU`, exitCode: 2, says: /^domherd: NAME is longer/m },
  { args: `vm start ${'y'.repeat(600)}`, exitCode: 2, says: /^domherd: VM is empty or longer/ },
  { args: 'lease acquire x --reservation nope', exitCode: 3, says: /nope/ },
  { args: 'lease release 10.180.3.3 --yes', exitCode: 3, says: /10\.180\.3\.3 has no lease/ },
  {
    args: 'lease release 10.180.0.1 --yes',
    exitCode: 5,
    says: /domU@dom0-1#0 is not known to be stopped[^]*hint: stop/,
  },
  { args: 'host show dom0-9', exitCode: 3, says: /dom0-9/ },
  { args: 'host token a/b', exitCode: 2, says: /a\/b/ },
  { args: 'host revoke dom0-9 --yes', exitCode: 3, says: /dom0-9/ },
  { args: 'vm show domu@dom0-1', exitCode: 3, says: /hint: did you mean domU@dom0-1/ },
  { args: 'vm show domU', exitCode: 2, says: /domU@dom0-1, domU@dom0-2\nhint: give NAME@HOST/ },
  { args: 'vm show -- -x;y', exitCode: 3, says: /-x;y/ },
  { args: 'vm address domU@dom0-1 --address 10.180.0.77', exitCode: 5, says: /is running/ },
  { args: 'event list --limit 0', exitCode: 2, says: /1 to 1000/ },
  { args: 'event list --vm nope', exitCode: 3, says: /nope/ },
  { args: 'event list --host nope', exitCode: 3, says: /host "nope" is unknown/ },
  { args: 'event list --host nope*', exitCode: 3, says: /"nope\*" matches no host/ },
  { args: 'event list --reservation nope', exitCode: 3, says: /nope/ },
  { args: 'bridge list --host dom0-[1-3]', exitCode: 3, says: /no host dom0-3/ },
  { args: 'host list dom0-1 dom0-9', exitCode: 3, says: /"dom0-9" is unknown/ },
  { args: 'host show dom0-*', exitCode: 2, says: /is 2 hosts/ },
  { args: 'host revoke dom0-[7-9] --yes', exitCode: 3, says: /matches no host/ },
  { args: 'host add dom0-* --dry-run', exitCode: 2, says: /could be any host/ },
  { args: 'vm start domU@dom0-[1-3]', exitCode: 3, says: /there is no VM domU@dom0-3/ },
  { args: 'vm destroy x* --yes', exitCode: 3, says: /"x\*" matches no VM/ },
  { args: 'vm start domU-[1-1000000000]', exitCode: 2, says: /9 digits/ },
  { args: 'vm show domU*', exitCode: 2, says: /matches 4 VMs/ },
  { args: 'vm create w --like domU --on dom0-[1-3]', exitCode: 3, says: /there is no host dom0-3/ },
  { args: 'certificate issue a/b --out /nonexistent', exitCode: 2, says: /a\/b/ },
];

t.test('bad input: what, where and what to do, an exit code, and nothing changed', async (t) => {
  const before = await cli.everything();
  for (const { args, exitCode, says, ...options } of REFUSALS) {
    const refused = await cli.run(args, options);
    t.match(refused, { exitCode, out: exitCode === 5 && args.startsWith('vm') ? /RESULT/ : '' }, args);
    t.match(refused.err, says, args);
    t.match(refused.err, /^hint: \S|^\{.*"hint":"\S/m, `${args}: with what to do`);
  }
  t.equal(await cli.everything(), before);
});

t.test('the mask of the /22 where the site has a /14 is a warning', async (t) => {
  const stdin = '10.180.8.0/22\t10.180.11.255\t255.255.252.0\n';
  const { exitCode, err, out } = await cli.run('reservation import - --name old --ends +1h --dry-run', { stdin });
  t.equal(exitCode, 0);
  t.match(err, /warning: .*255\.255\.252\.0.*\/14|warning: .*\/14/);
  t.match(out, /10\.183\.255\.254/);
});

t.test('a pool that is exhausted: how many, held by whom, when one is free', async (t) => {
  await cli.ok('reservation import - --name tiny --ends +1h --gateway 192.168.9.6 --prefix 29', {
    stdin: '192.168.9.0/29',
  });
  await cli.ok('lease acquire full --reservation tiny --count 5');
  await cli.ok('lease release 192.168.9.1 --yes');
  const before = await cli.everything();
  const full = await cli.run('lease acquire late --reservation tiny --count 2');
  t.match(full, { exitCode: 7, out: '' });
  t.match(full.err, /"tiny" has 0 of 5 addresses free, and 2 were asked for\nhint: release/);
  t.match(full.err, /by: full-\d \(1\), /);
  t.match(full.err, /nextFreeAt: 20/);
  t.equal(await cli.everything(), before);
});

t.test('some of several that fail are exit code 10, each told apart', async (t) => {
  await cli.ok('vm destroy domU@dom0-1 --yes');
  const dry = await cli.run('vm address domU@dom0-1 domU@dom0-2 --reservation job42 --dry-run');
  t.match(
    dry,
    { exitCode: 10, out: /domU@dom0-1 +write cfg/, err: /VM domU@dom0-2 is running/ },
    'and a dry run says so',
  );
  t.match(await cli.run('vm reboot domU@dom0-[1-2] --dry-run'), { exitCode: 10, out: /domU@dom0-2 +reboot/ });
  const mixed = await cli.run('vm address domU@dom0-1 domU@dom0-2 --reservation job42');
  t.match(mixed, { exitCode: 10, out: /domU@dom0-1 +done/ });
  t.match(
    progressOf(mixed.err).find(({ errorCode }) => errorCode),
    { type: 'result', vm: 'domU@dom0-2', errorCode: 'wrong_state', hint: 'domherd vm shutdown domU@dom0-2', failed: 1 },
  );
  t.match(mixed.out, /domU@dom0-2 +wrong_state/);
  await cli.ok('vm start domU@dom0-1');
  await cli.ok('vm wait domU@dom0-1 --for running');
});

t.test('what takes away asks, and takes no for an answer', async (t) => {
  const before = await cli.everything();
  const refused = await cli.run('lease release 10.180.0.5', { isTerminal: true, stdin: 'n\n' });
  t.match(refused, { exitCode: 5, err: /release 10\.180\.0\.5\? \[y\/N\] [^]*nothing was changed/ });
  t.equal(await cli.everything(), before);
  const agreed = await cli.run('lease release 10.180.0.5', { isTerminal: true, stdin: 'y\n' });
  t.match(agreed, { exitCode: 0, out: /quarantined/ });
});
