import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { FleetCli } from '../harness/fleet-cli.js';

const TWO = 'vms:\n  - {name: web, count: 2, like: domU, memory: 32, labels: {role: front}, started: true}\n';
const ONE = 'vms:\n  - {name: web, count: 1, like: domU, memory: 32, labels: {role: back}, started: false}\n';

t.test('a fleet of a file', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(['dom0-1', 'dom0-2'], 1);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  const path = join(t.testdir(), 'lab.yaml');
  writeFileSync(path, TWO);
  const before = await fleet.everything();
  t.match(await fleet.ok(`vm diff -f ${path}`), /\+ +web-1 web-2 +create, like domU, and start/);
  t.equal(await fleet.everything(), before, 'diff changes nothing');

  await fleet.ok(`vm apply -f ${path}`);
  await fleet.ok('vm wait web-[1-2] --for=running');
  const labels = { role: 'front', 'domherd/fleet': 'lab', 'domherd/group': 'web' };
  t.match(await fleet.rows('vm list web-1 web-2'), [
    { labels, memoryMib: 32 },
    { labels, memoryMib: 32 },
  ]);
  const made = await fleet.everything();
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });
  t.equal(await fleet.everything(), made, 'twice is once');

  await fleet.ok('vm destroy web-1 --yes');
  await fleet.ok('vm delete web-1 --yes');
  t.match(await fleet.rows(`vm diff -f ${path}`), [{ change: 'create', vms: ['web-1'] }]);
  await fleet.ok(`vm apply -f ${path}`);
  t.equal((await fleet.rows('vm list web-*')).length, 2, 'what is missing is made');

  writeFileSync(path, ONE);
  t.match(await fleet.run(`vm apply -f ${path} --prune`), { exitCode: 2, err: /remove web-2@dom0-\d.*--yes/s });
  t.equal((await fleet.rows('vm list web-*')).length, 2, 'not without a yes');
  const pruned = await fleet.run(`vm apply -f ${path} --prune --yes`);
  t.match(pruned, {
    exitCode: 0,
    err: /~ web-1@dom0-\d label role=back\n~ web-1@dom0-\d stop\n- web-2@dom0-\d remove/,
  });
  t.match(await fleet.rows('vm list web-*'), [{ name: 'web-1', state: 'stopped', labels: { role: 'back' } }]);
  t.equal((await fleet.rows('vm list domU@dom0-*')).length, 2, 'the image is left alone');

  const larger = ONE.replace('32', '64, vcpus: 2');
  writeFileSync(path, larger);
  const untouched = await fleet.everything();
  t.match(await fleet.ok(`vm diff -f ${path}`), /^~ +web-1@dom0-\d +set memory 32 -> 64 MiB, vcpus 1 -> 2$/m);
  t.equal(await fleet.everything(), untouched);
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /~ web-1@dom0-\d set memory 32 -> 64 MiB/ });
  t.match(await fleet.rows('vm list web-1'), [{ memoryMib: 64, vcpus: 2, state: 'stopped' }]);
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });
  writeFileSync(path, larger.replace('64', '48').replace('false', 'true'));
  await fleet.ok(`vm apply -f ${path}`);
  await fleet.ok('vm wait web-1 --for=running');
  t.match(await fleet.rows('vm list web-1'), [{ memoryMib: 48 }], 'set before it is started');
  writeFileSync(path, larger.replace('64', '40').replace('false', 'true'));
  await fleet.ok(`vm apply -f ${path}`);
  t.match(await fleet.rows('vm list web-1'), [{ memoryMib: 40, state: 'running' }], 'less, while it runs');
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });
  writeFileSync(path, larger.replace('64', '96').replace('false', 'true'));
  const late = /96 MiB \(it was started with 48 at most\): from its next start on; domherd vm restart web-1/;
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: late });
  await fleet.ok('vm restart web-1 --timeout 1m --then destroy');
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });

  const lasting = `${larger.replace('64', '96').replace('started: false', 'autostart: true').replace('count: 1', 'count: 2')}`;
  writeFileSync(path, lasting);
  await fleet.ok(`vm apply -f ${path}`);
  t.match(await fleet.rows('vm list web-*'), [{ autostart: true }, { autostart: true }], 'made and changed');
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });
  writeFileSync(path, lasting.replace('autostart: true', 'autostart: false'));
  t.match(await fleet.ok(`vm diff -f ${path}`), /^~ +web-1@dom0-\d +autostart off$/m);
  await fleet.ok(`vm apply -f ${path}`);
  t.match(await fleet.rows('vm list web-*'), [{ autostart: false }, { autostart: false }]);

  const image = join(dirname(path), 'root.img');
  writeFileSync(image, '');
  truncateSync(image, 4 * 1024 * 1024);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', image]);
  const sha256 = createHash('sha256').update(readFileSync(image)).digest('hex');
  const group = `{name: gate, image: root.img, sha256: ${sha256}, memory: 64, extra-vif: xenbr0, on: dom0-2}`;
  writeFileSync(path, `vms:\n  - ${group}\n`);
  t.match(await fleet.ok(`vm diff -f ${path}`), /\+ +gate +create, of the image \/.*root\.img$/m);
  t.strictSame(await fleet.rows('image list'), [], 'diff sends nothing');
  await fleet.ok(`vm apply -f ${path}`);
  const lease = { state: 'bound' };
  t.match(await fleet.rows('vm list gate'), [{ host: 'dom0-2', memoryMib: 64, vifs: [{ lease }, { lease }] }]);
  t.match(await fleet.run(`vm apply -f ${path}`), { exitCode: 0, err: /everything is as the file says/ });
  rmSync(path);
  for (const [args, err] of [
    [`vm apply -f ${path}`, /cannot be read/],
    ['vm apply', /--file/],
    ['vm diff -f - --yes', /--yes/],
    ['vm diff -f -', /^domherd: stdin:1:1: a map with "vms:"/],
  ] as const) {
    t.match(await fleet.run(args, { stdin: 'x\n' }), { exitCode: 2, err }, args);
  }
});
